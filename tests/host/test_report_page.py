"""The report in a browser: a threshold that can be moved, parts in their own shape, titles that fit a phone."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from browser import browse

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.scores import Scores
from patchcore_edge.reporting.report import View, write_report
from patchcore_edge_runtime.bundle.manifest import CalibrationFacts, ScoreStats, TradeOffPoint
from patchcore_edge_runtime.images.preprocess import PreprocessSpec
from patchcore_edge_runtime.verdict import Thresholds

GOOD = np.linspace(20, 30, 101, dtype=np.float32)
DEFECTIVE = np.float32([24, 28, 31, 40, 41])
LIMIT = 29.0


def report(path: Path, title: str = "run: parts", picture: tuple[int, int] = (8, 8)) -> Path:
    """A report whose pictures are of a height and width."""
    scores = np.concatenate([GOOD, DEFECTIVE])
    labels = np.arange(len(scores)) >= len(GOOD)
    paths = [Path(f"{'hole' if bad else 'good'}/{index}.png") for index, bad in enumerate(labels)]
    found = Scores(paths, [one.parent.name for one in paths], labels, scores, scores, scores, None, groups=[])
    points = [
        TradeOffPoint(
            threshold=threshold,
            expected_fpr=rate,
            fpr_upper_bound=2 * rate,
            synthetic_recall=10 * rate,
            labelled_recall=None,
        )
        for threshold, rate in ((25.0, 0.05), (LIMIT, 0.02), (35.0, 0.01))
    ]
    facts = CalibrationFacts.model_validate(
        {
            "method": "cross-fitted",
            "data": "parts",
            "n": 101,
            "rank": 100,
            "target_fpr": 0.02,
            "supported_fpr": 0.02,
            "fpr_upper_bound": 0.04,
            "supports_target": True,
            "scores": ScoreStats(min=20, median=25, max=30),
            "trade_off": tuple(points),
            "synthetic": 90,
            "synthetic_recall": 0.2,
        }
    )

    def views(shown: list[Path]) -> list[View]:
        return [View(np.full((*picture, 3), 90, np.uint8), np.zeros((8, 8), np.float32), None) for _ in shown]

    thresholds = Thresholds(image=LIMIT, pixel=LIMIT)
    write_report(path, title, {}, found, evaluate(found, thresholds), LIMIT, views, facts)
    return path


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (
            "",
            (
                "Threshold 29, in use",
                "it rejects 10 of 101 good parts (9.9 %) and finds 3 of 5 defects (60.0 %).",
                "expect at most 2.0 % rejected (with 95 % confidence fewer than 4.0 %), and at most 20.0 % of",
            ),
        ),
        (
            "#threshold=27.05",
            (
                "Threshold 27.05<",
                "it rejects 30 of 101 good parts (29.7 %) and finds 4 of 5 defects (80.0 %).",
                "expect at most 5.0 % rejected",
                "patchcore-edge-runtime edit BUNDLE --image-threshold 27.05 --by NAME",
            ),
        ),
        ("#threshold=22", ("finds 5 of 5 defects", "The calibration did not look at thresholds as low as this.")),
        ("#threshold=<b>1", ("Threshold 29, in use",)),
    ],
)
def test_a_moved_threshold_says_what_it_would_do(asked: str, says: tuple[str, ...], tmp_path: Path) -> None:
    page = browse(f"{report(tmp_path / 'r.html').as_uri()}{asked}", tmp_path / "profile", "--dump-dom")
    for words in says:
        assert words in page


def test_the_moved_line_stands_where_the_plot_has_its_value(tmp_path: Path) -> None:
    """At the threshold in use it covers the dashed line that the plot has there."""
    path = report(tmp_path / "r.html")
    shots = []
    for asked in ("", "#threshold=36"):
        shot = tmp_path / "page.png"
        browse(f"{path.as_uri()}{asked}", tmp_path / "profile", "--window-size=1280,1600", f"--screenshot={shot}")
        shots.append(cv2.imread(str(shot)).astype(int))
    blue = [(shot[..., 0] > shot[..., 2] + 80) & (shot[..., 0] > 150) for shot in shots]
    places = [np.flatnonzero(one[300:900].sum(axis=0) > 100) for one in blue]
    dashed = (shots[1].max(axis=2) < 100) & (shots[0] != shots[1]).any(axis=2)
    column = int(np.argmax(dashed.sum(axis=0)))
    assert abs(column - np.median(places[0])) <= 2
    assert np.median(places[1]) > np.median(places[0]) + 50


@pytest.mark.parametrize("picture", [(40, 200), (200, 40), (60, 60)])
def test_pictures_have_the_shape_of_the_part_and_the_heatmap_where_it_fits(
    picture: tuple[int, int], tmp_path: Path
) -> None:
    page = report(tmp_path / "r.html", picture=picture).read_text(encoding="utf-8")
    found = re.search(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    assert found
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(found[1]), np.uint8), cv2.IMREAD_COLOR)
    height, width = picture
    assert shown.shape[:2] == ((2 * height + 4, width) if width > 1.6 * height else (height, 2 * width + 4))


def test_a_photo_is_shown_as_far_as_the_model_looks_and_in_its_own_shape(tmp_path: Path) -> None:
    pixels = np.zeros((100, 400, 3), np.uint8)
    pixels[:, 200:] = 200
    cv2.imwrite(str(tmp_path / "wide.png"), pixels)

    def shape(longest: int, **spec: object) -> tuple[int, ...]:
        dataset = DataModule.dataset([ImageItem(tmp_path / "wide.png")], PreprocessSpec(height=64, width=64, **spec))
        return dataset.photo(0, longest).shape

    assert shape(200) == (50, 200, 3)
    assert shape(900) == (200, 800, 3), "enlarged by a whole number"
    assert shape(100, roi=(200, 0, 100, 100), frame_size=(100, 400)) == (100, 100, 3)
    assert shape(400, crop_height=32, crop_width=32) == (100, 400, 3)


def test_a_long_title_stays_on_a_phone(tmp_path: Path) -> None:
    path = report(tmp_path / "r.html", title=f"run: {'a_folder_without_a_blank_' * 8}")
    text = path.read_text(encoding="utf-8")
    # What is wider than the page is written into it, where the dump shows it.
    probe = "<script>document.title = `wide ${document.querySelector('h1').scrollWidth > innerWidth}`</script></body>"
    path.write_text(text.replace("</body>", probe), encoding="utf-8")
    assert "<title>wide false</title>" in browse(
        path.as_uri(), tmp_path / "profile", "--window-size=500,900", "--dump-dom"
    )
