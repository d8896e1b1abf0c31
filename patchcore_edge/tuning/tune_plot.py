"""The frontier: how well recipes tell good parts from defects, against what a frame costs."""

from __future__ import annotations

from markupsafe import Markup
from matplotlib.figure import Figure

from ..reporting.plots import figure_svg
from .outcome import Outcome

__all__ = ["frontier_plot"]

_COLORS = {"fp32": "#333333", "bf16": "#8a5fbf", "int8": "#2a7f9e"}
_CHOSEN, _DEFAULT = "#d98600", "#2a7f3e"


def frontier_plot(outcome: Outcome, precision: str) -> Markup:
    """The recipes that were timed, in each precision; a line joins those that nothing cheaper equals."""
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, color in _COLORS.items():
        points = sorted(
            (costs[name].milliseconds, one.evidence.value, one.evidence.error)
            for one, costs in outcome.measured
            if name in costs
        )
        if not points:
            continue
        times, values, errors = zip(*points, strict=True)
        if name == precision:
            axes.errorbar(times, values, yerr=errors, fmt="o", color=color, ecolor="#cccccc", label=name)
        else:
            axes.plot(times, values, ".", color=color, alpha=0.7, label=name)
        steps = [(time, value) for time, value, _ in points if all(v < value for t, v, _ in points if t < time)]
        axes.plot(*zip(*steps, strict=True), color=color, linewidth=1, drawstyle="steps-post")
    for one, color, word in ((outcome.default, _DEFAULT, "default"), (outcome.chosen, _CHOSEN, "chosen")):
        costs = next(costs for measured, costs in outcome.measured if measured is one)
        axes.plot(
            costs[precision].milliseconds,
            one.evidence.value,
            "s",
            markersize=11,
            markerfacecolor="none",
            markeredgecolor=color,
            markeredgewidth=2,
            label=word,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    axes.set(
        xlabel="milliseconds a frame", ylabel="defects found and located, good parts accepted", title="What time buys"
    )
    axes.legend(loc="best", framealpha=0.8)
    return figure_svg(figure)
