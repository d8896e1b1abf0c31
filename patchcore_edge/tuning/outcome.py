"""What a search ends with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .choice import Cost, Judged

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome:
    """A search that is over.

    Attributes:
        judged: every recipe.
        measured: those that were timed, with their costs by precision.
        default: what ``train`` does by itself.
        chosen: the recipe of the run.
        why: in one sentence.
    """

    judged: Sequence[Judged]
    measured: Sequence[tuple[Judged, dict[str, Cost]]]
    default: Judged
    chosen: Judged
    why: str

    def __str__(self) -> str:
        gain = self.chosen.evidence.value - self.default.evidence.value
        error = self.chosen.evidence.difference_error(self.default.evidence)
        lines = [f"Chosen: {self.chosen.recipe}.", self.why]
        if self.chosen is not self.default:
            lines.append(
                f"Synthetic defects found and located where at most a tenth of unseen good images is rejected: "
                f"{self.chosen.evidence.value:.3f}, default {self.default.evidence.value:.3f} "
                f"({gain:+.3f}, standard error {error:.3f})."
            )
        return "\n".join(lines)
