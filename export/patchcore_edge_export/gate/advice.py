"""What to try next when the gate refuses: always something that was not asked for."""

from __future__ import annotations

__all__ = ["advice"]


def advice(precision: str, search: str, *, compressed: bool) -> str:
    """One sentence for a person.

    Args:
        precision, search, compressed: of the graph that was refused.
    """
    steps = []
    if search == "fast":
        steps.append("--search exact")
    if compressed:
        steps.append("no --compress-weights")
    elif precision != "fp32":
        steps.append({"int8": "--precision fp16", "fp16": "--precision fp32"}[precision])
    if not steps:
        return (
            "There is no more careful export than this one: try another --backbone in `train`, or report it with this "
            "message; --force writes the bundle all the same."
        )
    return f"Try {', and if that is refused too, '.join(steps)}; --force writes the bundle all the same."
