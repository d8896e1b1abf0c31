"""``report.html``: one self-contained file, plots as SVG and pictures as JPEG inside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.bundle.manifest import CalibrationFacts
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.path_text import path_text

from ..data.file_names import distinct_names
from ..data.side_by_side import visualize
from ..fit.outliers import SHOWN, Outliers
from ..metrics.evaluator import Evaluation
from ..metrics.score_order import FALSE_ALARMS, Shift, file_order, find_shift
from ..metrics.scores import Scores
from .page import jpeg, write_page, write_text
from .trade_off_table import Choice, broken_promise, choices, few

__all__ = ["View", "write_outliers", "write_report"]

_PICTURES = 6
_FLAT = 1.6
"""Width by height of a picture above which its heatmap is below and not beside it."""


class View(NamedTuple):
    """What a picture of the report shows: BGR pixels of any size, the raw map and, where known, the defect mask."""

    pixels: Image
    anomaly_map: NDArray[np.float32]
    mask: NDArray[np.bool_] | None


@dataclass(frozen=True)
class _Picture:
    title: str
    data: str
    verdict: str = ""
    wrong: str = ""


def write_report(
    path: Path,
    title: str,
    facts: dict[str, str],
    scores: Scores,
    evaluation: Evaluation,
    pixel_threshold: float,
    views: Callable[[list[Path]], Iterable[View]],
    calibration: CalibrationFacts | None = None,
    warnings: Sequence[str] = (),
) -> None:
    """Write the report of an evaluation, and its metrics as JSON beside it.

    Args:
        path: HTML file to write.
        title: headline.
        facts: what was fitted and how, as rows of a table.
        scores, evaluation: what it is about.
        pixel_threshold: where the heatmaps turn orange; they begin above what good images usually have.
        views: gives, by their files, the images to show.
        calibration: how the threshold was found; its warnings and what other thresholds would do are shown.
        warnings: what else has to be known before the figures are believed, a sentence each.

    Raises:
        ConfigError: a file cannot be written.
    """
    # Imported where they are drawn: matplotlib takes a third of a second, and a fit draws none.
    from .plots import histogram, order_plot, plots, trade_off_plots

    rejected = _above(scores, evaluation, defective=False)
    values, shift = _good_in_order(scores)
    rows = _choices(scores, evaluation, calibration)
    write_page(
        path,
        "report.html.j2",
        title=title,
        facts=facts,
        evaluation=evaluation,
        warnings=[*warnings, *_warnings(evaluation, calibration, rejected)],
        rejected=rejected,
        found=_above(scores, evaluation, defective=True),
        histogram=(drawn := histogram(scores, evaluation)),
        mover=_mover(scores, evaluation, rows, drawn.frame),
        plots=plots(scores, evaluation),
        choices=few(rows),
        choice_plots=trade_off_plots(rows) if rows else [],
        calibration=calibration,
        order_plot=order_plot(values, evaluation.threshold, shift) if len(values) > 1 else None,
        shift=shift,
        false_alarms=FALSE_ALARMS,
        defects=_per_defect(scores, evaluation),
        galleries=_galleries(scores, evaluation, pixel_threshold, views),
    )
    write_text(path.with_suffix(".json"), json.dumps(evaluation.to_dict(), indent=2) + "\n")


def write_outliers(path: Path, title: str, outliers: Outliers, image: Callable[[int], Image]) -> None:
    """Write a page with the training images that look least like the others.

    Args:
        path: HTML file to write.
        title: headline.
        outliers: of the training images.
        image: gives BGR pixels of an image by its index, of any size.
    """
    shown = outliers.order[:SHOWN]
    names = [name.as_posix() for name in distinct_names(outliers.paths).values()]
    span = (outliers.usual, outliers.limit)
    pictures = [
        _Picture(
            f"{names[i]} · distance {outliers.distances[i]:#.4g}",
            _heat(image(i), grid, span, _highest(grid)),
        )
        for i, grid in ((i, outliers.patches[i].reshape(outliers.grid)) for i in shown)
    ]
    write_page(
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


def _warnings(evaluation: Evaluation, calibration: CalibrationFacts | None, rejected: int) -> list[str]:
    """What has to be known before the figures are believed, a sentence each."""
    if calibration is None:
        return []
    broken = broken_promise(calibration, rejected, evaluation.good)
    return [*calibration.warnings, *([broken] if broken else [])]


def _mover(scores: Scores, evaluation: Evaluation, rows: Sequence[Choice], frame: dict[str, float]) -> dict[str, Any]:
    """What the page needs to say what another threshold does: plain JSON values, scores sorted."""
    return {
        "frame": frame,
        "threshold": evaluation.threshold,
        "good": np.sort(scores.scores[~scores.labels]).tolist(),
        "defective": np.sort(scores.scores[scores.labels]).tolist(),
        "rows": [
            {"threshold": row.threshold, "expected": row.expected, "bound": row.bound, "synthetic": row.synthetic}
            for row in rows
        ],
    }


def _choices(scores: Scores, evaluation: Evaluation, calibration: CalibrationFacts | None) -> list[Choice]:
    if calibration is None or evaluation.threshold is None:
        return []
    return choices(calibration, evaluation.threshold, scores)


def _good_in_order(scores: Scores) -> tuple[NDArray[np.float32], Shift | None]:
    """The good images' scores in file order, and the stretch among them that stands apart."""
    good = [int(i) for i in np.flatnonzero(~scores.labels)]
    paths = [scores.paths[i] for i in good]
    order = file_order(paths)
    values = scores.scores[[good[i] for i in order]]
    return values, find_shift(values, [path_text(paths[i].name) for i in order])


def _per_defect(scores: Scores, evaluation: Evaluation) -> list[dict[str, Any]]:
    kinds = np.array(scores.kinds)
    good = scores.scores[~scores.labels]
    rows = []
    for kind in sorted(set(scores.kinds), key=lambda kind: (kind != "good", kind)):
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


def _above(scores: Scores, evaluation: Evaluation, *, defective: bool) -> int:
    threshold = np.inf if evaluation.threshold is None else evaluation.threshold
    return int((scores.scores[scores.labels == defective] > threshold).sum())


def _auroc_against(good: NDArray[np.float32], defective: NDArray[np.float32]) -> float:
    from sklearn.metrics import roc_auc_score

    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    return float(roc_auc_score(labels, np.r_[good, defective]))


def _galleries(
    scores: Scores, evaluation: Evaluation, pixel_threshold: float, views: Callable[[list[Path]], Iterable[View]]
) -> dict[str, list[_Picture]]:
    order = np.argsort(scores.scores)
    good = [int(i) for i in order if not scores.labels[i]]
    bad = [int(i) for i in order if scores.labels[i]]
    chosen = {
        "Defects with the lowest scores": bad[:_PICTURES],
        "Good parts with the highest scores": good[::-1][:_PICTURES],
        "Defects with the highest scores": bad[::-1][:_PICTURES],
        "Good parts with the lowest scores": good[:_PICTURES],
    }
    shown = sorted({index for indices in chosen.values() for index in indices})
    span = (_usual(scores.map_medians[good], pixel_threshold), pixel_threshold)
    names = distinct_names(scores.paths)
    pictures = {
        index: _picture(names[scores.paths[index]].as_posix(), scores, evaluation, index, span, view)
        for index, view in zip(shown, views([scores.paths[index] for index in shown]), strict=True)
    }
    return {title: [pictures[index] for index in indices] for title, indices in chosen.items() if indices}


def _usual(medians: NDArray[np.float32], pixel_threshold: float) -> float:
    """What a pixel of a good image usually has; no use where it is not below the threshold."""
    usual = float(np.median(medians)) if len(medians) else 0.0
    return usual if usual < pixel_threshold else 0.0


def _picture(
    name: str, scores: Scores, evaluation: Evaluation, index: int, span: tuple[float, float], view: View
) -> _Picture:
    defective, verdict, wrong = bool(scores.labels[index]), "", ""
    if evaluation.threshold is not None:
        flagged = bool(scores.scores[index] > evaluation.threshold)
        verdict = "NG" if flagged else "OK"
        wrong = "" if flagged == defective else "missed" if defective else "rejected"
    title = f"{name} · {scores.scores[index]:#.4g}"
    return _Picture(title, _heat(view.pixels, view.anomaly_map, span, view.mask), verdict, wrong)


def _highest(grid: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The place of the largest value alone; nothing where none is above zero."""
    place = np.zeros(grid.shape, np.bool_)
    place.flat[int(grid.argmax())] = grid.max() > 0
    return place


def _heat(
    pixels: Image, raw: NDArray[np.float32], span: tuple[float, float], mask: NDArray[np.bool_] | None = None
) -> str:
    """Image and heatmap, its colours from the first to as far beyond the second value of ``span``."""
    usual, middle = span
    flat = pixels.shape[1] > _FLAT * pixels.shape[0]
    return jpeg(visualize(pixels, np.maximum(raw - np.float32(usual), 0), middle - usual, mask, stacked=flat))
