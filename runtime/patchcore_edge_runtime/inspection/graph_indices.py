"""Operations that read or write where a number says, looked at before anything is computed with them.

OpenVINO's CPU does not look at each of these numbers: one that lies outside of its tensor reads or writes what is
beside it in memory, and ends the process, or does not. In exports they come from ``TopK``, or are constants.
"""

from __future__ import annotations

from typing import Any

from ..errors import BundleError

__all__ = ["check_indices"]

_Range = tuple[int, int]
# Of these the numbers are those of their first input, or of all inputs.
_PASS_ON = frozenset({"Broadcast", "Convert", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
_PASS_ON_FROM_ALL = frozenset({"Concat"})
_TAKE_FROM = frozenset({"Gather", "GatherElements"})
_INDICES = {"GatherElements": 1, "GatherND": 1, "ScatterElementsUpdate": 1}


def check_indices(model: Any, where: object) -> None:
    """Refuse a graph in which a number that says a place may lie outside of the tensor.

    Args:
        model: an ``openvino.Model`` of fixed sizes.
        where: its file, for the error.

    Raises:
        BundleError: one may, or nobody can tell.
    """
    known: dict[tuple[str, int], _Range] = {}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in _INDICES and not _are_inside(node, kind, known):
            raise BundleError(
                f"{where} has a {kind} that may reach beyond its tensor, which no export has; export the bundle again."
            )
        for port in node.outputs():
            if (found := _range(node, kind, port.get_index(), known)) is not None:
                known[node.get_name(), port.get_index()] = found


def _range(node: Any, kind: str, index: int, known: dict[tuple[str, int], _Range]) -> _Range | None:
    """The least and the largest whole number of an output; None where that is not told."""
    if kind == "Constant":
        whole = node.get_element_type().is_integral() and node.data.size
        return (int(node.data.min()), int(node.data.max())) if whole else None
    if kind == "TopK":
        return (0, _side(node, node.get_attributes()["axis"]) - 1) if index == 1 else None
    if kind in _PASS_ON and (kind != "Convert" or node.get_element_type().is_integral()):
        return _of_inputs(node, 1, known)
    if kind in _PASS_ON_FROM_ALL:
        return _of_inputs(node, len(node.inputs()), known)
    if kind in _TAKE_FROM and (found := _of_inputs(node, 1, known)) is not None:
        return min(found[0], 0), max(found[1], 0)  # what lies outside is zero
    return None


def _of_inputs(node: Any, count: int, known: dict[tuple[str, int], _Range]) -> _Range | None:
    ranges = [known.get(_key(port)) for port in node.inputs()[:count]]
    found = [one for one in ranges if one is not None]
    return (min(low for low, _ in found), max(high for _, high in found)) if len(found) == len(ranges) else None


def _are_inside(node: Any, kind: str, known: dict[tuple[str, int], _Range]) -> bool:
    port = node.inputs()[_INDICES[kind]]
    if kind == "GatherND":
        return _are_inside_each(node, port)
    axis = node.inputs()[3].get_source_output().get_node() if kind == "ScatterElementsUpdate" else None
    if axis is not None and axis.get_type_name() != "Constant":
        return False
    found = known.get(_key(port))
    place = int(axis.data.item()) if axis is not None else int(node.get_attributes()["axis"])
    return found is not None and found[0] >= 0 and found[1] < _side(node, place)


def _are_inside_each(node: Any, port: Any) -> bool:
    """Of ``GatherND``, whose indices are rows of places, one for each of the first sides of the tensor."""
    rows, skipped = port.get_source_output().get_node(), int(node.get_attributes()["batch_dims"])
    if rows.get_type_name() != "Constant" or not rows.data.size:
        return False
    sides = [int(side) for side in node.inputs()[0].get_partial_shape().to_shape()][skipped:]
    columns = rows.data.reshape(-1, rows.data.shape[-1])
    return bool((columns >= 0).all() and (columns < sides[: columns.shape[1]]).all())


def _side(node: Any, axis: int) -> int:
    return int(node.inputs()[0].get_partial_shape().to_shape()[axis])


def _key(port: Any) -> tuple[str, int]:
    source = port.get_source_output()
    return source.get_node().get_name(), source.get_index()
