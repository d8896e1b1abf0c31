"""What a graph needs in memory, told by its shapes before anything is computed with it.

Operations that exports use can be put together to tensors of terabytes. Whoever allocates them is ended by the system:
the line that runs, while it only looks at the next bundle.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..errors import BundleError, DeviceError
from ..system import free_memory

__all__ = ["check_memory", "peak_memory"]

_GIB = 2**30


def check_memory(model: Any, where: object) -> None:
    """Refuse a graph that needs more memory than this machine has free.

    Args:
        model: an ``openvino.Model``.
        where: its file, for the error.

    Raises:
        BundleError: of some tensor nobody can tell the size before it is computed.
        DeviceError: there is not enough memory.
    """
    needed, free = peak_memory(model, where), free_memory()
    if free is not None and needed > free:
        raise DeviceError(
            f"{where} needs {needed / _GIB:.1f} GiB of memory at a time and {free / _GIB:.1f} GiB are free; "
            "end other programs, or export a smaller model."
        )


def peak_memory(model: Any, where: object) -> int:
    """Bytes of the tensors that there are at the same time: the constants, and each other one from where it is computed
    to where it is last used.

    Raises:
        BundleError: one is of no fixed size.
    """
    nodes = model.get_ordered_ops()
    last: dict[tuple[str, int], int] = {}
    for step, node in enumerate(nodes):
        for port in node.inputs():
            source = port.get_source_output()
            last[source.get_node().get_name(), source.get_index()] = step
    now, peak, ending = 0, 0, Counter[int]()
    for step, node in enumerate(nodes):
        for port in node.outputs():
            size = _bytes(port, node, where)
            now += size
            if node.get_type_name() != "Constant":
                ending[last.get((node.get_name(), port.get_index()), step)] += size
        peak = max(peak, now)
        now -= ending[step]
    return peak


def _bytes(port: Any, node: Any, where: object) -> int:
    shape = port.get_partial_shape()
    if shape.is_dynamic:
        raise BundleError(
            f"{where} has a {node.get_type_name()} of no fixed size, which no export has; export the bundle again."
        )
    count = 1
    for side in shape.to_shape():
        count *= int(side)  # in Python, whose numbers do not overflow
    return -(-count * int(port.get_element_type().bitwidth) // 8)
