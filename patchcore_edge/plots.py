"""The report's plots, as SVG."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from .evaluator import Evaluation, Scores

__all__ = ["plots"]

_GOOD, _DEFECT, _INK = "#2a7f3e", "#c22f3d", "#333333"


def plots(scores: Scores, evaluation: Evaluation) -> list[Markup]:
    """The scores' histogram and, where there are both kinds, the ROC; each an ``<svg>``, the same for the same data."""
    drawn = [_histogram(scores, evaluation)]
    if evaluation.image_auroc is not None:
        drawn.append(_roc(scores, evaluation))
    return drawn


def _histogram(scores: Scores, evaluation: Evaluation) -> Markup:
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
    return _svg(figure)


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
    return _svg(figure)


def _svg(figure: Figure) -> Markup:
    text = io.StringIO()
    # A fixed salt and no date: the same data gives the same file.
    with matplotlib.rc_context({"svg.hashsalt": "patchcore-edge"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    # matplotlib escapes the texts it draws.
    return Markup(text.getvalue()[text.getvalue().index("<svg") :])  # noqa: S704
