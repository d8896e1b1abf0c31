"""A graph's whole interface, looked at once, before anything is computed with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..bundle.graph_operations import check_operations
from ..errors import BundleError
from .backend import FRAME, MAP, SCORE

__all__ = ["check_answer", "check_graph"]


def check_graph(model: Any, where: object) -> None:
    """Refuse a graph of another interface than an export's, or with operations that exports do not use.

    Args:
        model: an ``openvino.Model``.
        where: its file, for the error.

    Raises:
        BundleError: says what is not as it should be.
    """
    # Once more than when the bundle was opened: this is the graph as the library has read it.
    check_operations((node.get_type_name() for node in model.get_ordered_ops()), where)
    inputs = {name: port for port in model.inputs for name in port.get_names()}
    outputs = {name: port for port in model.outputs for name in port.get_names()}
    if len(model.inputs) != 1 or FRAME not in inputs:
        raise _other(where, f"it has the inputs {_names(model.inputs)} and not {FRAME} alone")
    missing = [name for name in (SCORE, MAP) if name not in outputs]
    if missing:
        raise _other(where, f"it has the outputs {_names(model.outputs)} and no {missing[0]}")
    frame = _described(inputs[FRAME])
    sides = frame[1]
    if frame[0] != "u8" or sides is None or len(sides) != 4 or sides[3] != 3 or min(sides) < 1:
        raise _other(where, f"{FRAME} is {_say(frame)} and not u8 [N,H,W,3] of fixed size")
    for name, wanted in ((SCORE, sides[:1]), (MAP, (sides[0], 1, *sides[1:3]))):
        found = _described(outputs[name])
        if found != ("f32", wanted):
            raise _other(where, f"{name} is {_say(found)} and not {_say(('f32', wanted))}")


def check_answer(scores: NDArray[Any], maps: NDArray[Any], batch: int, size: tuple[int, int], where: object) -> None:
    """Refuse what a backend gave for a batch, where it is not what ``Backend`` promises.

    Args:
        scores, maps: as given.
        batch: of the bundle.
        size: height and width of its input.
        where: who gave it, for the error.

    Raises:
        BundleError: a shape or a dtype is another.
    """
    for name, given, wanted in ((SCORE, scores, (batch,)), (MAP, maps, (batch, 1, *size))):
        found = (str(getattr(given, "dtype", type(given).__name__)), np.shape(given))
        if found != ("float32", wanted):
            raise _other(where, f"{name} is {_say(found)} and not {_say(('float32', wanted))}")


def _described(port: Any) -> tuple[str, tuple[int, ...] | None]:
    """Element type and shape; None for a shape that is not fixed."""
    shape = port.get_partial_shape()
    return port.get_element_type().get_type_name(), tuple(port.get_shape()) if shape.is_static else None


def _say(described: tuple[str, tuple[int, ...] | None]) -> str:
    kind, shape = described
    return f"{kind} of no fixed size" if shape is None else f"{kind} {list(shape)}"


def _names(ports: Any) -> str:
    names = [min(port.get_names(), default="one without a name") for port in ports]
    return ", ".join(name[:60] for name in names[:5]) or "none"


def _other(where: object, what: str) -> BundleError:
    return BundleError(f"{where} has another interface than an export's: {what}; export the bundle again.")
