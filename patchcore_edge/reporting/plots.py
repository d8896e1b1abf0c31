"""The report's plots, as SVG."""

from __future__ import annotations

import io
from typing import NamedTuple

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from ..metrics.evaluator import Evaluation
from ..metrics.score_order import Shift
from ..metrics.scores import Scores
from .trade_off_table import Choice

__all__ = ["Histogram", "figure_svg", "histogram", "order_plot", "plots", "trade_off_plots"]

_GOOD, _DEFECT, _INK, _STRETCH = "#2a7f3e", "#c22f3d", "#333333", "#fdf0d5"
_MEDIUM = (5.2, 3.4)
_RATE_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Histogram(NamedTuple):
    """A histogram and where its axes lie in it.

    Attributes:
        svg: the same for the same data.
        frame: left, right, top and bottom of the axes in the drawing's units; first and last score there.
    """

    svg: Markup
    frame: dict[str, float]


def plots(scores: Scores, evaluation: Evaluation) -> list[Markup]:
    """Where there are both kinds, the ROC, an ``<svg>``."""
    return [] if evaluation.image_auroc is None else [_roc(scores, evaluation)]


def histogram(scores: Scores, evaluation: Evaluation) -> Histogram:
    """Of the scores of good and of defective images."""
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(scores.scores.min(), scores.scores.max(), 41)
    for label, color, name in ((False, _GOOD, "good"), (True, _DEFECT, "defective")):
        values = scores.scores[scores.labels == label]
        if len(values):
            axes.hist(values, bins=list(bins), color=color, alpha=0.65, label=f"{name} ({len(values)})")
    if evaluation.threshold is not None:
        axes.axvline(evaluation.threshold, color=_INK, linestyle="--", label=f"threshold {evaluation.threshold:#.4g}")
    axes.set(xlabel="raw image score", ylabel="images", title="Scores")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    svg = figure_svg(figure)
    # Known when it has been drawn. SVG counts from the top, in points.
    box, (width, height) = axes.get_position(), 72 * figure.get_size_inches()
    first, last = axes.get_xlim()
    frame = {
        "left": box.x0 * width,
        "right": box.x1 * width,
        "top": (1 - box.y1) * height,
        "bottom": (1 - box.y0) * height,
    }
    return Histogram(svg, {**{name: float(value) for name, value in frame.items()}, "first": first, "last": last})


def _roc(scores: Scores, evaluation: Evaluation) -> Markup:
    figure = Figure(figsize=(3.8, 3.4), layout="constrained")
    axes = figure.subplots()
    false_rejects, recall, _ = roc_curve(scores.labels, scores.scores)
    axes.plot(false_rejects, recall, color=_DEFECT)
    if evaluation.false_reject_rate is not None and evaluation.recall is not None:
        axes.plot(evaluation.false_reject_rate, evaluation.recall, "o", color=_INK, label="threshold")
        axes.legend(frameon=False, loc="lower right")
    axes.set(xlabel="good parts rejected", ylabel="defects found", title=f"ROC, AUROC {evaluation.image_auroc:.4f}")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure_svg(figure)


def trade_off_plots(rows: list[Choice]) -> list[Markup]:
    """What each threshold does to good and defective parts, and what is caught for how many false rejects."""
    return [_by_threshold(rows), _caught_for_rejects(rows)]


def _by_threshold(rows: list[Choice]) -> Markup:
    figure = Figure(figsize=_MEDIUM, layout="constrained")
    axes = figure.subplots()
    cuts = [row.threshold for row in rows]
    expected = [row.expected for row in rows]
    axes.fill_between(cuts, expected, [row.bound for row in rows], color=_GOOD, alpha=0.2, linewidth=0)
    axes.plot(cuts, expected, color=_GOOD, label="good rejected: expected, up to bound")
    _line(axes, cuts, [row.rejected for row in rows], _GOOD, ":", "good rejected: test images")
    _line(axes, cuts, [row.synthetic for row in rows], _DEFECT, "-", "caught: synthetic defects")
    _line(axes, cuts, [row.labelled for row in rows], _DEFECT, "--", "caught: labelled defects")
    _line(axes, cuts, [row.found for row in rows], _DEFECT, ":", "caught: test images")
    for row in rows:
        if row.is_present:
            axes.axvline(row.threshold, color=_INK, linestyle="--", label=f"in use: {row.threshold:#.4g}")
    axes.set(xlabel="threshold of the raw image score", ylabel="share of the parts called NG", title="By threshold")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return figure_svg(figure)


def _caught_for_rejects(rows: list[Choice]) -> Markup:
    figure = Figure(figsize=_MEDIUM, layout="constrained")
    axes = figure.subplots()
    expected = [row.expected for row in rows]
    _line(axes, expected, [row.synthetic for row in rows], _DEFECT, "-", "caught: synthetic defects")
    _line(axes, expected, [row.labelled for row in rows], _DEFECT, "--", "caught: labelled defects")
    measured = [row for row in rows if row.rejected]
    rates = [row.rejected or 0.0 for row in measured]
    _line(axes, rates, [row.found for row in measured], _INK, ":", "test images, both measured")
    for row in rows:
        caught_now = next((value for value in (row.synthetic, row.labelled, row.found) if value is not None), None)
        if row.is_present and caught_now is not None:
            axes.plot([row.expected, row.bound], [caught_now] * 2, "|-", color=_INK, label="in use, up to bound")
            axes.plot(row.expected, caught_now, "o", color=_INK)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_RATE_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel="good parts rejected", ylabel="defects caught", title="What false rejects buy")
    axes.set_ylim(-0.02, 1.02)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_percent))
    figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return figure_svg(figure)


def _line(axes: Axes, x: list[float], y: list[float | None], color: str, style: str, name: str) -> None:
    """A line through the points that there are; none where there is no point."""
    known = [(at, value) for at, value in zip(x, y, strict=True) if value is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=color, linestyle=style, label=name)


def _percent(value: float, _position: int) -> str:
    return f"{100 * value:g} %"


def order_plot(values: NDArray[np.float32], threshold: float | None, shift: Shift | None) -> Markup:
    """Raw scores ``[n]`` of good images in file order, and the stretch that stands apart."""
    figure = Figure(figsize=(6.2, 3.2), layout="constrained")
    axes = figure.subplots()
    if shift is not None:
        axes.axvspan(shift.start + 0.5, shift.stop + 0.5, color=_STRETCH, label=f"{shift.first} to {shift.last}")
    axes.plot(np.arange(1, len(values) + 1), values, "o", color=_GOOD, markersize=3)
    if threshold is not None:
        axes.axhline(threshold, color=_INK, linestyle="--", label=f"threshold {threshold:#.4g}")
    axes.set(xlabel="good test images in file order", ylabel="raw image score", title="Scores in file order")
    if axes.get_legend_handles_labels()[0]:
        figure.legend(frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return figure_svg(figure)


def figure_svg(figure: Figure) -> Markup:
    """A figure as an ``<svg>`` for a page."""
    text = io.StringIO()
    # A fixed salt and no date: the same data gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "patchcore-edge"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    # matplotlib escapes the texts it draws.
    return Markup(text.getvalue()[text.getvalue().index("<svg") :])  # noqa: S704
