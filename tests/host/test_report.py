"""The report and the page of odd training images: whole in one file, safe, and about what matters."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, TINY_SIZE, run_cli

from patchcore_edge.data.side_by_side import visualize
from patchcore_edge.fit.outliers import find_outliers
from patchcore_edge.metrics.evaluator import evaluate
from patchcore_edge.metrics.scores import Scores
from patchcore_edge.reporting.report import View, write_outliers, write_report
from patchcore_edge.reporting.trade_off_table import broken_promise, choices, few
from patchcore_edge_runtime.bundle.manifest import CalibrationFacts, ScoreStats, TradeOffPoint
from patchcore_edge_runtime.verdict import Thresholds


class Page(HTMLParser):
    """Texts, picture sources and links of a page; complains of what is not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name == "src"]
        self.links += [value or "" for name, value in attrs if name in ("href", "xlink:href")]
        assert tag not in ("iframe", "link", "object")
        assert tag != "script" or "src" not in dict(attrs)
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data: str) -> None:
        if "script" in self.open:
            assert not re.search(r"fetch|XMLHttpRequest|WebSocket|import\(|https?:", data)
        else:
            self.text += data


@pytest.fixture(scope="module")
def evaluated(tiny_run: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    report = tmp_path_factory.mktemp("report") / "report.html"
    done = run_cli("eval", tiny_run, "--data", tiny_data, "--report", report)
    assert done.returncode == 0, done.stderr
    return report


def test_the_report_is_one_file_that_asks_for_nothing(evaluated: Path) -> None:
    page = Page(evaluated)
    assert page.sources
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    assert all(link.startswith("#") for link in page.links)
    assert {path.name for path in evaluated.parent.iterdir()} == {"report.html", "report.json"}


def test_the_metrics_are_saved_as_they_are_printed(evaluated: Path, tiny_run: Path, tiny_data: Path) -> None:
    saved = json.loads(evaluated.with_suffix(".json").read_text(encoding="utf-8"))
    done = run_cli("eval", tiny_run, "--data", tiny_data, "--report", evaluated, "--json")
    assert saved == json.loads(done.stdout)
    assert saved["image_auroc"] == 1.0


def test_the_report_says_what_a_line_engineer_asks_first(evaluated: Path) -> None:
    text = Page(evaluated).text
    saved = json.loads(evaluated.with_suffix(".json").read_text())
    rejected = round(6 * saved["false_reject_rate"])
    assert rejected <= 1
    for words in (
        f"good parts rejected: {rejected} of 6",
        "defects found: 6 of 6",
        "image AUROC",
        "AUPRO",
        "6 of 6",
        "Defects with the lowest scores",
        "Good parts with the highest scores",
        "memory bank",
        "12 images of",
        "found at 1 % rejected",
        "found at 5 % rejected",
        "No stretch of files stands apart",
    ):
        assert words in text
    assert evaluated.read_text(encoding="utf-8").count("<svg") >= 3


def test_the_outline_of_a_defect_does_not_hide_it() -> None:
    image, mask = np.full((32, 32, 3), 90, np.uint8), np.zeros((32, 32), bool)
    mask[10:12, 10:20] = True
    picture = visualize(image, np.zeros((32, 32), np.float32), 1.0, mask)
    np.testing.assert_array_equal(picture[:, :32], image)
    assert (picture[:, -32:] != image).any(axis=2).sum() >= 20


def test_the_same_data_gives_the_same_report(evaluated: Path, tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.html"
    assert run_cli("eval", tiny_run, "--data", tiny_data, "--report", again).returncode == 0
    assert again.read_bytes() == evaluated.read_bytes()


def test_a_folder_with_nothing_but_test_images_is_enough(
    evaluated: Path, tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_data / "test", tmp_path / "test")
    shutil.copytree(tiny_data / "ground_truth", tmp_path / "ground_truth")
    assert run_cli("eval", tiny_run, "--data", tmp_path, "--report", tmp_path / "r.html").returncode == 0
    saved = evaluated.with_suffix(".json").read_bytes()
    assert (tmp_path / "r.json").read_bytes() == saved


def test_a_run_without_thresholds_is_told_how_to_get_them(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    shutil.rmtree(run / "calibration")
    done = run_cli("eval", run, "--data", tiny_data, "--json")
    assert json.loads(done.stdout)["threshold"] is None
    text = Page(run / "report.html").text
    assert "run patchcore-edge calibrate" in text
    assert "good parts rejected" not in text.split("By kind")[0]


def test_names_of_files_and_defects_are_no_markup(tiny_run: Path, tiny_data: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data / "train", data / "train")
    shutil.copytree(tiny_data / "test" / "good", data / "test" / "good")
    shutil.copytree(tiny_data / "test" / "scratch", data / "test" / "<b onclick=x>")
    report = tmp_path / "report.html"
    assert run_cli("eval", tiny_run, "--data", data, "--report", report).returncode == 0
    text = report.read_text(encoding="utf-8")
    assert "<b onclick" not in text
    assert html.escape("<b onclick=x>") in text


def test_an_odd_image_among_the_good_ones_is_pointed_out_with_its_picture(
    tiny_data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))
    odd = cv2.imread(str(data / "004.png"))
    cv2.rectangle(odd, (30, 30), (50, 50), (0, 0, 255), -1)
    cv2.imwrite(str(data / "004.png"), odd)
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights)
    run = tmp_path / "run"
    done = run_cli("train", data, "-o", run, *options, "--image-size", TINY_SIZE, "--coreset-sampling-ratio", 0.2)
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d+ of 12 training images look unlike the others \(004\.png", done.stdout)
    page = Page(run / "outliers.html")
    assert page.text.index("004.png") < page.text.index("003.png")
    assert "stands out" in page.text
    assert len(page.sources) == 12


def test_the_odd_image_has_the_largest_distance_although_its_own_patches_are_in_the_bank() -> None:
    pool = torch.randn(10 * 9, 5, generator=torch.Generator().manual_seed(0))
    pool[3 * 9 + 4] += 20
    found = find_outliers(pool, list(range(90)), [Path(f"{i}.png") for i in range(10)], (3, 3))
    assert found.suspects == [3]
    assert found.order[0] == 3
    assert found.patches[3].argmax() == 4
    assert found.distances[3] > found.limit > np.delete(found.distances, 3).max()
    others = torch.cat([pool[: 3 * 9], pool[4 * 9 :]])
    assert found.distances[3] == pytest.approx(float((others - pool[3 * 9 + 4]).norm(dim=1).min()), rel=1e-4)


def test_images_that_are_all_alike_have_no_odd_one_and_one_image_has_no_others(tmp_path: Path) -> None:
    pool = torch.ones(4 * 9, 5)
    found = find_outliers(pool, [0, 9, 18], [Path(f"{i}.png") for i in range(4)], (3, 3))
    assert found.suspects == []
    alone = find_outliers(pool[:9], [0, 1], [Path("0.png")], (3, 3))
    assert alone.suspects == []
    write_outliers(tmp_path / "page.html", "alone", alone, lambda _: np.zeros((12, 12, 3), np.uint8))
    assert "None of 1 training images stands out" in Page(tmp_path / "page.html").text


def facts_of(n: int, **more: object) -> CalibrationFacts:
    points = [
        TradeOffPoint(
            threshold=float(cut),
            expected_fpr=(cut - 40) ** 2 / 400,
            fpr_upper_bound=min(1.0, (cut - 40) ** 2 / 300),
            synthetic_recall=(44 - cut) / 24,
        )
        for cut in range(21, 40)
    ]
    known = {
        "data": "parts",
        "n": n,
        "target_fpr": 0.01,
        "rank": n,
        "supported_fpr": 0.01,
        "fpr_upper_bound": 0.03,
        "supports_target": True,
        "scores": ScoreStats(min=10, median=20, max=35),
        "trade_off": tuple(points),
        "synthetic": 90,
        "synthetic_recall": 0.25,
    }
    return CalibrationFacts.model_validate({**known, **more})


def report_of(path: Path, scores: Scores, facts: CalibrationFacts | None, threshold: float) -> str:
    """The text of a report on scores alone."""
    thresholds = Thresholds(image=threshold, pixel=threshold)

    def views(shown: list[int]) -> list[View]:
        return [View(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.float32), None) for _ in shown]

    write_report(path, "title", {}, scores, evaluate(scores, thresholds), threshold, views, facts)
    return Page(path).text


def cells(good: list[float], defective: list[float], groups: list[str] | None = None) -> Scores:
    values = np.array([*good, *defective], np.float32)
    labels = np.arange(len(values)) >= len(good)
    paths = [Path(("hole" if bad else "good") + f"/{index}.png") for index, bad in enumerate(labels)]
    kinds = [path.parent.name for path in paths]
    return Scores(paths, kinds, labels, values, values, values, None, groups=groups or [])


GOOD = [20 + 10 * ((index * 7919) % 101) / 101 for index in range(100)]


def test_the_report_shows_what_other_thresholds_would_do_and_how_to_take_one(tmp_path: Path) -> None:
    text = " ".join(report_of(tmp_path / "r.html", cells(GOOD, [25, 31, 33, 38]), facts_of(100), 32.0).split())
    assert "What another threshold would do" in text
    assert re.search(r"31\.00 20\.2% 27\.0% 54\.2% 0\.0% 50\.0%", text), "test: none of 100, 2 of 4"
    assert re.search(r"32\.00 1\.0% 3\.0% 25\.0% 0\.0% 50\.0% in use", text), "as the calibration promised"
    assert "patchcore-edge-runtime edit BUNDLE --image-threshold T --by NAME" in text
    assert "90 defects that were drawn" in text
    assert "labelled" not in text.lower(), "there are none in this calibration"
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count("<svg") == 5


def test_a_threshold_between_the_points_has_a_row_of_its_own(tmp_path: Path) -> None:
    rows = choices(facts_of(100), 32.5, cells(GOOD, [25, 33]))
    (mine,) = (row for row in rows if row.is_present)
    assert (mine.threshold, mine.expected, mine.bound, mine.synthetic) == (32.5, 0.01, 0.03, 0.25)
    assert (mine.rejected, mine.found) == (0.0, 0.5)
    assert [row.threshold for row in rows] == sorted(row.threshold for row in rows)
    assert choices(facts_of(100, trade_off=()), 32.5, cells(GOOD, [])) == []
    shown = few(rows, 8)
    assert 4 <= len(shown) <= 9
    assert mine in shown
    assert {rows[0], rows[-1]} <= set(shown)


def test_warnings_come_first_and_a_broken_promise_is_one(tmp_path: Path) -> None:
    facts = facts_of(100, warnings=("026.jpg alone sets <the threshold>.",))
    text = report_of(tmp_path / "r.html", cells(GOOD, [25, 33]), facts, 32.0)
    assert text.index("026.jpg alone sets <the threshold>.") < text.index("good parts rejected")
    assert "not like those" not in text
    text = report_of(tmp_path / "r.html", cells(GOOD, [25, 33]), facts, 29.0)
    assert "10 of 100 good test parts are rejected (10.0%), where the calibration's bound is 3.0%" in text
    assert "Before you trust" not in report_of(tmp_path / "r.html", cells(GOOD, [25]), facts_of(100), 32.0)


def test_a_promise_is_broken_only_beyond_chance() -> None:
    assert broken_promise(facts_of(100), 3, 100) == broken_promise(facts_of(100), 0, 0) == ""
    assert broken_promise(facts_of(100), 9, 100)


def test_a_run_of_high_scores_is_named(tmp_path: Path) -> None:
    good = [value + (12 if 40 <= index < 70 else 0) for index, value in enumerate(GOOD)]
    text = " ".join(report_of(tmp_path / "r.html", cells(good, [25, 33]), None, 50.0).split())
    found = re.search(r"Images (\d+)\.png to (\d+)\.png score higher than the rest: median 3\S+ against 2\S+", text)
    assert found
    assert abs(int(found[1]) - 40) <= 3
    assert abs(int(found[2]) - 69) <= 3
    assert "does not fit the other" in text


def test_batches_have_a_table_where_they_are_known(tmp_path: Path) -> None:
    groups = [f"lot {index // 51}" for index in range(102)]
    text = " ".join(report_of(tmp_path / "r.html", cells(GOOD, [25, 33], groups), None, 29.0).split())
    assert re.search(r"By batch .*lot 0 51 \d+ \S+% 0 0 – lot 1 49 \d+ \S+% 2 1 50\.0%", text)
    assert "By batch" not in report_of(tmp_path / "r.html", cells(GOOD, [25, 33]), None, 29.0)
