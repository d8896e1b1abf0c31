from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from line_records import make_frame, make_record

from patchcore_edge_runtime.bundle.manifest import Labels
from patchcore_edge_runtime.display.overlay import VERDICT_COLORS, draw_overlay, heatmap
from patchcore_edge_runtime.display.panel import strip_height
from patchcore_edge_runtime.inspection.ignore_mask import IgnoreMask
from patchcore_edge_runtime.inspection.result import InspectionResult
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.verdict import Verdict

SIZES = [(8, 8), (40, 400), (320, 240), (640, 480), (480, 1920), (1920, 1080), (3840, 2160)]


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_every_verdict_fits_every_frame(verdict: Verdict, size: tuple[int, int]) -> None:
    record = make_record(verdict, size=size)
    frame = make_frame(*size)
    before = frame.copy()
    picture = draw_overlay(frame, record.result, hud=LineStatus().snapshot())
    assert picture.shape == frame.shape
    assert picture.dtype == np.uint8
    assert np.array_equal(frame, before), "the frame itself is left alone"
    assert tuple(int(value) for value in picture[0, 0]) == VERDICT_COLORS[verdict]


def test_the_part_itself_is_not_covered_when_it_is_good() -> None:
    record = make_record(Verdict.OK)
    frame = record.frame.image
    picture = draw_overlay(frame, record.result, hud=LineStatus().snapshot())
    strip, hud = strip_height(picture, Verdict.OK), 480 // 18
    assert np.array_equal(picture[strip : 480 - hud, 12:-12], frame[strip : 480 - hud, 12:-12])
    assert strip + hud < 480 * 0.19


def test_under_the_counters_the_part_still_shows() -> None:
    record = make_record(Verdict.OK)
    frame = record.frame.image.copy()
    frame[:, 600:] = 255
    picture = draw_overlay(frame, record.result, hud=LineStatus().snapshot())
    assert picture[456, 560].max() < picture[456, 628].min()


def test_the_strip_moves_down_where_it_would_hide_the_defect() -> None:
    record = make_record(Verdict.NG)
    model_map = np.ones((64, 64), np.float32)
    model_map[1:4, 40:50] = 5.0
    high = replace(record.result, model_map=model_map)
    picture = draw_overlay(record.frame.image, high, hud=LineStatus().snapshot())
    color = VERDICT_COLORS[Verdict.NG]
    assert tuple(picture[480 - 30, 8]) == color
    assert tuple(picture[40, 8]) != color
    model_map = model_map.copy()
    model_map[60:63, 40:50] = 5.0
    both = replace(record.result, model_map=model_map)
    assert tuple(draw_overlay(record.frame.image, both)[40, 8]) == color


def test_colour_starts_below_the_threshold_and_ends_where_it_is_asked_to() -> None:
    image = np.full((64, 64, 3), 100, np.uint8)
    ramp = np.tile(np.linspace(0, 4, 64, dtype=np.float32), (64, 1))
    shown = heatmap(image, ramp, 2.0)
    changed = (shown != image).any(axis=(0, 2))
    assert not changed[ramp[0] < 1.5].any()
    assert changed[ramp[0] > 1.55].all()
    above = heatmap(image, ramp, 2.0, only_above=True)
    changed = (above != image).any(axis=(0, 2))
    assert np.array_equal(changed, ramp[0] > 2.0)
    assert np.array_equal(above[:, ramp[0] > 2.0], shown[:, ramp[0] > 2.0])
    assert np.array_equal(heatmap(image, ramp, 2.0, opacity=0.0), image)


@pytest.mark.parametrize("only_above", [False, True])
def test_a_small_defect_is_drawn_as_in_a_frame_with_defects_all_over(only_above: bool) -> None:
    image = make_frame(640, 480)
    spot = np.ones((56, 64), np.float32)
    spot[20:25, 30:33] = (2.5, 3.0, 4.0)
    small = heatmap(image, spot, 2.0, only_above=only_above)
    changed = (small != image).any(axis=2)
    assert 500 < changed.sum() < 5000
    spot[:2, :2] = spot[-2:, -2:] = 4.0
    whole = heatmap(image, spot, 2.0, only_above=only_above)
    # Two interpolations of OpenCV, which round differently.
    assert (np.abs(small.astype(int) - whole)[changed] <= 3).mean() > 0.98
    assert (whole[:8, :8] != image[:8, :8]).any()


def test_opacity_is_the_share_of_the_colour() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    hot = np.full((16, 16), 9.0, np.float32)
    full, half = heatmap(image, hot, 2.0, 1.0), heatmap(image, hot, 2.0, 0.5)
    assert np.abs(half.astype(int) * 2 - full).max() <= 2
    assert full[0, 0, 2] > full[0, 0, 0], "the hottest is red"


def test_nothing_is_coloured_where_nothing_counts() -> None:
    record = make_record(Verdict.NG)
    hot = np.full((64, 64), 9.0, np.float32)
    ignore = IgnoreMask([[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]])
    result = replace(record.result, model_map=hot, ignore=ignore)
    picture = draw_overlay(record.frame.image, result)
    inside = (slice(130, 350), slice(170, 470))
    assert np.array_equal(picture[inside], record.frame.image[inside])
    assert (picture[380:400, 20:100] != record.frame.image[380:400, 20:100]).any(axis=2).all()


def test_only_the_inspected_part_is_coloured() -> None:
    record = make_record(Verdict.NG)
    result = replace(record.result, model_map=np.full((64, 64), 9.0, np.float32), roi=(200, 200, 100, 100))
    picture = draw_overlay(record.frame.image, result)
    assert (picture[250, 250] != record.frame.image[250, 250]).any()
    assert np.array_equal(picture[310:460, 310:600], record.frame.image[310:460, 310:600])


def test_score_and_limit_can_be_read_from_the_bar() -> None:
    """The bar ends at the score on a scale whose middle is the limit."""
    ends = []
    for score in (1.5, 3.0, 4.5):
        result = replace(make_record(Verdict.OK).result, pred_score=score)
        picture = draw_overlay(np.zeros((480, 640, 3), np.uint8), result)
        row = picture[23, 250:630]
        filled = np.flatnonzero((row == VERDICT_COLORS[Verdict.OK]).all(axis=1))
        ends.append(filled.max() - filled.min())
    assert ends[1] / ends[0] == pytest.approx(2, rel=0.05)
    assert ends[2] / ends[0] == pytest.approx(3, rel=0.05)


def test_the_bundles_own_labels_are_shown_beside_the_verdict_and_default_ones_are_not() -> None:
    ng, warn = (make_record(verdict).result for verdict in (Verdict.NG, Verdict.WARN))
    frame = make_frame()

    def strip(result: InspectionResult, labels: Labels) -> np.ndarray:
        return draw_overlay(frame, replace(result, labels=labels))[:60]

    own = Labels(good="gut", anomalous="schlecht gelötet")
    plain, shown = strip(ng, Labels()), strip(ng, own)
    changed = np.flatnonzero((plain != shown).any(axis=(0, 2)))
    tag = int(np.flatnonzero((plain[10] != VERDICT_COLORS[Verdict.NG]).any(axis=1))[0])
    assert tag < changed.min() < changed.max() < 400, "the verdict's word and the bar stay as they are"
    assert np.array_equal(shown, strip(ng, Labels(anomalous="schlecht gelotet")))
    assert not np.array_equal(shown, strip(ng, Labels(anomalous="schlecht")))
    assert np.array_equal(plain, strip(ng, Labels(anomalous="不良"))), "question marks help nobody"
    assert np.array_equal(strip(warn, own), strip(warn, Labels()))


@pytest.mark.parametrize(
    ("verdict", "label"), [(Verdict.OK, "gut"), (Verdict.WARN, ""), (Verdict.NG, "schlecht"), (Verdict.ERROR, "")]
)
def test_a_record_has_the_bundles_label(verdict: Verdict, label: str) -> None:
    result = replace(make_record(verdict).result, labels=Labels(good="gut", anomalous="schlecht"))
    assert result.label == result.to_dict()["label"] == label


def test_a_part_that_is_ng_by_its_other_frames_is_drawn_without_a_score() -> None:
    failed = make_record(Verdict.ERROR).result
    for verdict in Verdict:
        picture = draw_overlay(make_frame(), replace(failed, verdict=verdict))
        assert tuple(int(value) for value in picture[0, 0]) == VERDICT_COLORS[verdict]


def test_a_reason_of_any_length_stays_in_the_picture() -> None:
    result = replace(make_record(Verdict.ERROR).result, reason="The camera at rtsp://line-3/überall is away. " * 12)
    for size in SIZES:
        picture = draw_overlay(make_frame(*size), result)
        strip = strip_height(picture, Verdict.ERROR)
        border = 1 + 2 * (min(size) // 120 + 1)
        inside = (slice(strip + border, -border), slice(border, -border))
        assert np.array_equal(picture[inside], make_frame(*size)[inside])


@pytest.mark.parametrize("frame", [np.zeros((48, 64), np.uint8), np.full((48, 64, 3), 40_000, np.uint16)])
def test_grey_and_deep_frames_are_drawn_as_they_are_inspected(frame: np.ndarray) -> None:
    picture = draw_overlay(frame, make_record(Verdict.OK, size=(64, 48)).result)
    assert picture.shape == (48, 64, 3)
