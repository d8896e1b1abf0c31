"""``report.html``: one self-contained file, plots as SVG and pictures as JPEG inside it."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from patchcore_edge_runtime.preprocess import Image

from .evaluator import Evaluation, Scores
from .outliers import Outliers
from .visualizer import visualize

__all__ = ["write_outliers", "write_report"]

_GOOD, _DEFECT, _INK = "#2a7f3e", "#c22f3d", "#333333"
_PICTURES = 6
_OUTLIERS = 12


@dataclass(frozen=True)
class _Picture:
    title: str
    data: str


def write_report(
    path: Path,
    title: str,
    facts: dict[str, str],
    scores: Scores,
    evaluation: Evaluation,
    pixel_threshold: float,
    image: Callable[[int], Image],
) -> None:
    """Write the report of an evaluation.

    Args:
        path: HTML file to write.
        title: headline.
        facts: what was fitted and how, as rows of a table.
        scores, evaluation: what it is about.
        pixel_threshold: the middle of the heatmaps' colours.
        image: gives the model-size BGR pixels of an image by its index.
    """
    _write(
        path,
        "report.html.j2",
        title=title,
        facts=facts,
        evaluation=evaluation,
        plots=_plots(scores, evaluation),
        defects=_per_defect(scores, evaluation),
        galleries=_galleries(scores, evaluation, pixel_threshold, image),
    )


def write_outliers(path: Path, title: str, outliers: Outliers, image: Callable[[int], Image]) -> None:
    """Write a page with the training images that look least like the others.

    Args:
        path: HTML file to write.
        title: headline.
        outliers: of the training images.
        image: gives the model-size BGR pixels of an image by its index.
    """
    shown = outliers.order[:_OUTLIERS]
    # What half of the images reach somewhere is the middle: only the unusual is hot.
    middle = max(float(np.median(outliers.distances)), 1e-12)
    titles = [f"{outliers.paths[i].name} · distance {outliers.distances[i]:.3g}" for i in shown]
    pictures = [_Picture(title, _heat(outliers, i, middle, image(i))) for title, i in zip(titles, shown, strict=True)]
    _write(
        path,
        "outliers.html.j2",
        title=title,
        images=len(outliers.paths),
        suspects=len(outliers.suspects),
        rows=[
            (str(outliers.paths[i]), float(outliers.distances[i]), float(outliers.z_scores[i]), i in outliers.suspects)
            for i in shown
        ],
        pictures=pictures,
    )


def _heat(outliers: Outliers, index: int, middle: float, pixels: Image) -> str:
    rows, columns = outliers.grid
    size = (pixels.shape[1], pixels.shape[0])
    grid = outliers.patches[index].reshape(rows, columns)
    heat = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return _jpeg(visualize(pixels, heat, middle))


def _write(path: Path, template: str, **values: Any) -> None:
    environment = Environment(loader=PackageLoader("patchcore_edge"), autoescape=select_autoescape())
    html = environment.get_template(template).render(**values)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(html, encoding="utf-8")
    part.replace(path)


def _plots(scores: Scores, evaluation: Evaluation) -> list[Markup]:
    plots = [_histogram(scores, evaluation)]
    if evaluation.image_auroc is not None:
        plots.append(_roc(scores, evaluation))
    return plots


def _histogram(scores: Scores, evaluation: Evaluation) -> Markup:
    figure = Figure(figsize=(6.2, 3.4), layout="constrained")
    axes = figure.subplots()
    bins = np.linspace(scores.scores.min(), scores.scores.max(), 41)
    for label, color, name in ((False, _GOOD, "good"), (True, _DEFECT, "defective")):
        values = scores.scores[scores.labels == label]
        if len(values):
            axes.hist(values, bins=list(bins), color=color, alpha=0.65, label=f"{name} ({len(values)})")
    if evaluation.threshold is not None:
        axes.axvline(evaluation.threshold, color=_INK, linestyle="--", label=f"threshold {evaluation.threshold:.3g}")
    axes.set(xlabel="raw image score", ylabel="images", title="Scores")
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


def _per_defect(scores: Scores, evaluation: Evaluation) -> list[dict[str, Any]]:
    kinds = np.array(scores.kinds)
    good = scores.scores[~scores.labels]
    rows = []
    for kind in sorted(set(scores.kinds)):
        values = scores.scores[kinds == kind]
        is_defect = bool(scores.labels[kinds == kind][0])
        flagged = None if evaluation.threshold is None else int((values > evaluation.threshold).sum())
        rows.append(
            {
                "kind": kind,
                "images": len(values),
                "auroc": _auroc_against(good, values) if is_defect and len(good) else None,
                "median": float(np.median(values)),
                "flagged": flagged,
            }
        )
    return rows


def _auroc_against(good: NDArray[np.float32], defective: NDArray[np.float32]) -> float:
    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    return float(roc_auc_score(labels, np.r_[good, defective]))


def _galleries(
    scores: Scores, evaluation: Evaluation, pixel_threshold: float, image: Callable[[int], Image]
) -> dict[str, list[_Picture]]:
    order = np.argsort(scores.scores)
    good = [int(i) for i in order if not scores.labels[i]]
    bad = [int(i) for i in order if scores.labels[i]]
    chosen = {
        "Good parts that look worst": good[::-1][:_PICTURES],
        "Defects that look most harmless": bad[:_PICTURES],
        "Plainest defects": bad[::-1][:_PICTURES],
        "Good parts that look best": good[:_PICTURES],
    }
    return {
        title: [_picture(scores, evaluation, i, pixel_threshold, image(i)) for i in indices]
        for title, indices in chosen.items()
        if indices
    }


def _picture(scores: Scores, evaluation: Evaluation, index: int, pixel_threshold: float, pixels: Image) -> _Picture:
    data = _jpeg(visualize(pixels, scores.maps[index], pixel_threshold, scores.masks[index]))
    verdict = ""
    if evaluation.threshold is not None:
        verdict = " · NG" if scores.scores[index] > evaluation.threshold else " · OK"
    title = f"{scores.kinds[index]}/{scores.paths[index].name} · {scores.scores[index]:.3g}{verdict}"
    return _Picture(title, data)


def _jpeg(picture: Image) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return base64.b64encode(data.tobytes()).decode()
