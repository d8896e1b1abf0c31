"""Which recipe is taken: not the one that happens to measure best, but the cheapest that nothing clearly beats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .evidence import Evidence
from .recipe import Recipe

__all__ = ["Cost", "Judged", "Limits", "choose", "finalists", "frontier", "to_beat", "worth"]

_GAIN = 0.05
"""What the default has to be beaten by for every size of defects: of a gain on synthetic defects a part is real."""
_LOSS = 0.01
"""What may be lost, error included, for a cheaper recipe."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A recipe and what is known of it.

    Attributes:
        evidence: how well it tells good parts from defects.
        auroc: of the images alone: good ones against synthetic defects.
        located: how well the map finds the synthetic defects, in [0, 1].
        estimate: what a frame costs, in any unit that grows with the time it takes.
    """

    recipe: Recipe
    evidence: Evidence
    auroc: float
    located: float
    estimate: float


@dataclass(frozen=True)
class Cost:
    """Of a recipe's graph: milliseconds a frame, and megabytes (2²⁰ bytes) on disk."""

    milliseconds: float
    megabytes: float


@dataclass(frozen=True)
class Limits:
    """What a graph may cost; None for no limit."""

    milliseconds: float | None = None
    megabytes: float | None = None

    def allow(self, cost: Cost) -> bool:
        """Whether a cost keeps within them."""
        within = self.milliseconds is None or cost.milliseconds <= self.milliseconds
        return within and (self.megabytes is None or cost.megabytes <= self.megabytes)


def worth(one: Judged, default: Judged) -> float:
    """What a recipe is surely worth: its value, less how unsure its difference to the default is."""
    return one.evidence.value - one.evidence.difference_error(default.evidence)


def to_beat(judged: Sequence[Judged], default: Judged) -> Judged:
    """The default, centred where that is better by more than the error.

    Of lots that no bank has seen the good images are real, and so is what centring gains on them; what a further recipe
    gains is on defects that were made.
    """
    same = [one for one in judged if one.recipe.plain == default.recipe]
    return max([default, *same], key=lambda one: worth(one, default))


def frontier(judged: Sequence[Judged], default: Judged) -> list[Judged]:
    """From the cheapest up, each that is worth more than all cheaper ones."""
    found: list[Judged] = []
    worths = {id(one): worth(one, default) for one in judged}
    for one in sorted(judged, key=lambda judged: (judged.estimate, -worths[id(judged)])):
        if not found or worths[id(one)] > worths[id(found[-1])]:
            found.append(one)
    return found


def finalists(judged: Sequence[Judged], default: Judged, most: int) -> list[Judged]:
    """Those whose real cost is worth measuring: the default, what beats it, their smaller banks, and the frontier.

    Args:
        judged: all.
        default: what is taken where nothing clearly beats it.
        most: how many in all.
    """
    steps = frontier(judged, default)
    best = max((one for one in judged if _beats(one, default)), key=lambda one: worth(one, default), default=default)
    small = (min((one for one in judged if _replaces(one, other)), key=_cost) for other in (default, best))
    wanted = list({id(one): one for one in (default, best, *small, steps[-1])}.values())
    rest = [one for one in steps if one not in wanted]
    count = max(0, most - len(wanted))
    if len(rest) > count:
        rest = [rest[round((place + 0.5) * len(rest) / count - 0.5)] for place in range(count)]
    return [*wanted, *rest]


def choose(measured: Sequence[tuple[Judged, Cost]], default: Judged, limits: Limits) -> tuple[Judged, str] | None:
    """The recipe to take and why, in one sentence; None where none keeps within the limits."""
    allowed = [(one, cost) for one, cost in measured if limits.allow(cost)]
    if not allowed:
        return None
    usual = next((pair for pair in allowed if pair[0] is default), None)
    clear = [one for one, _ in allowed if usual is None or one is default or _beats(one, default)]
    best = max(clear, key=lambda one: (one is not default, worth(one, default)))
    level = sorted((pair for pair in allowed if _replaces(pair[0], best)), key=lambda pair: pair[1].milliseconds)
    chosen = level[0][0]
    if chosen is not best:
        what = "the default" if best is default else "what measured best"
        return (
            chosen,
            f"It is as good as {what} with a smaller bank, and takes {level[0][1].milliseconds:.1f} ms a frame.",
        )
    if chosen is default and default.recipe.layout.centering:
        return (
            chosen,
            "Good images differ from lot to lot, and less so when what all places of a photo share is taken off.",
        )
    if chosen is default:
        return chosen, "Nothing that was tried is clearly better than the default, so the default is taken."
    if usual is None:
        return chosen, "It tells good parts from defects best of those within the limits, which the default is not."
    return chosen, "It tells good parts from defects clearly better than the default, and nothing cheaper equals it."


def _beats(one: Judged, default: Judged) -> bool:
    """Whether it is surely better, and for defects of every size: nobody knows how large the real ones are."""
    return worth(one, default) > default.evidence.value and one.evidence.least_gain(default.evidence) >= _GAIN


def _replaces(one: Judged, best: Judged) -> bool:
    """Whether it is the same but for a smaller bank, and surely as good.

    Other features are no cheaper form of it: what they lose on real defects may be made up for on those that were made.
    """
    same = one.recipe.layout == best.recipe.layout and one.recipe.score == best.recipe.score
    return same and worth(one, best) >= best.evidence.value - _LOSS


def _cost(one: Judged) -> float:
    return one.estimate
