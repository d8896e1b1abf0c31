"""What to try next when the gate refuses: always something that was not asked for."""

from __future__ import annotations

__all__ = ["advice"]

_MORE_CAREFUL = {"int8": "fp16", "fp16": "fp32"}


def advice(precision: str, search: str, *, compressed: bool) -> str:
    """One sentence for a person; what it tells to try is more careful than what was refused, and none of it was done.

    Args:
        precision, search, compressed: of the graph that was refused, which for ``--search auto`` is the one it took.
    """
    steps = []
    if search == "fast":
        steps.append("--search exact")
    if compressed:
        steps.append("no --compress-weights")
    if precision in _MORE_CAREFUL:
        steps.append(f"--precision {_MORE_CAREFUL[precision]}")
    if not steps:
        return (
            "There is no more careful export than this one: try another --backbone in `train`, or report it with this "
            "message; --force writes the bundle all the same."
        )
    return f"Try {', and if that is refused too, '.join(steps)}; --force writes the bundle all the same."
