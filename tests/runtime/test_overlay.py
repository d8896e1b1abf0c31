from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from line_records import make_frame, make_record

from patchcore_edge_runtime import ConfigError, Inspector
from patchcore_edge_runtime.bundle.manifest import Labels
from patchcore_edge_runtime.display.overlay import VERDICT_COLORS, draw_overlay, heatmap
from patchcore_edge_runtime.inspection.ignore_mask import IgnoreMask
from patchcore_edge_runtime.inspection.result import InspectionResult
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.verdict import Verdict

SIZES = [(8, 8), (40, 400), (320, 240), (640, 480), (480, 1920), (1920, 1080), (3840, 2160)]


def part_of(picture: np.ndarray) -> np.ndarray:
    """Of a picture of a frame of 640x480 without counters: the frame."""
    rim = (picture.shape[1] - 640) // 2
    return picture[-rim - 480 : -rim, rim:-rim]


def place_of(picture: np.ndarray, frame: np.ndarray) -> tuple[slice, slice]:
    """Where in a picture without a heatmap the whole frame is, pixel for pixel."""
    height, width = frame.shape[:2]
    left = (picture.shape[1] - width) // 2
    for top in range(picture.shape[0] - height + 1):
        if np.array_equal(picture[top : top + height, left : left + width], frame):
            return slice(top, top + height), slice(left, left + width)
    raise AssertionError("the frame is not in the picture, or something lies over it")


@pytest.mark.parametrize("verdict", list(Verdict))
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_nothing_is_written_over_the_part_whatever_the_frame_and_the_verdict(
    verdict: Verdict, size: tuple[int, int]
) -> None:
    record = replace(make_record(verdict, size=size).result, model_map=None)
    frame = make_frame(*size)
    before = frame.copy()
    picture = draw_overlay(frame, record, hud=LineStatus().snapshot())
    assert picture.dtype == np.uint8
    assert np.array_equal(frame, before), "the frame itself is left alone"
    times = max(1, round(480 / max(size)))
    place_of(picture, frame.repeat(times, axis=0).repeat(times, axis=1))
    assert {tuple(int(value) for value in corner) for corner in (picture[0, 0], picture[-1, -1])} == {
        VERDICT_COLORS[verdict]
    }


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_frames_of_one_size_have_pictures_of_one_size_whatever_the_verdict(size: tuple[int, int]) -> None:
    shapes = {draw_overlay(make_frame(*size), make_record(verdict, size=size).result).shape for verdict in Verdict}
    assert len(shapes) == 1
    ((height, width, _),) = shapes
    assert (height % 2, width % 2) == (size[1] % 2, size[0] % 2), "video codecs take even sides"


@pytest.mark.parametrize("size", [(120, 120), (64, 48), (109, 291), (300, 300)])
def test_the_word_on_a_small_part_is_as_large_as_on_a_usual_one(size: tuple[int, int]) -> None:
    """Rows of the strip's first columns that have white letters in the verdict's colour."""

    def letters(size: tuple[int, int]) -> int:
        picture = draw_overlay(make_frame(*size), make_record(Verdict.NG, size=size).result)
        return int((picture[:80, 6:90] == 255).all(axis=2).any(axis=1).sum())

    assert letters(size) >= 0.8 * letters((640, 480)) > 20


def test_the_strips_take_a_fifth_of_a_usual_frame_at_most() -> None:
    picture = draw_overlay(make_frame(), make_record(Verdict.OK).result, hud=LineStatus().snapshot())
    assert picture.shape[0] < 480 * 1.26
    assert picture.shape[1] < 640 * 1.02


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
    picture = part_of(draw_overlay(record.frame.image, result))
    inside = (slice(130, 350), slice(170, 470))
    assert np.array_equal(picture[inside], record.frame.image[inside])
    assert (picture[380:400, 20:100] != record.frame.image[380:400, 20:100]).any(axis=2).all()


def test_only_the_inspected_part_is_coloured() -> None:
    record = make_record(Verdict.NG)
    result = replace(record.result, model_map=np.full((64, 64), 9.0, np.float32), roi=(200, 200, 100, 100))
    picture = part_of(draw_overlay(record.frame.image, result))
    assert (picture[250, 250] != record.frame.image[250, 250]).any()
    assert np.array_equal(picture[310:460, 310:600], record.frame.image[310:460, 310:600])


def test_score_and_limit_can_be_read_from_the_bar() -> None:
    """The bar ends at the score on a scale whose middle is the limit."""
    ends = []
    for score in (1.5, 3.0, 4.5):
        result = replace(make_record(Verdict.OK).result, pred_score=score)
        picture = draw_overlay(np.zeros((480, 640, 3), np.uint8), result)
        row = picture[30, 250:630]
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


def test_a_reason_of_any_length_stays_in_its_strip() -> None:
    result = replace(make_record(Verdict.ERROR).result, reason="The camera at rtsp://line-3/überall is away. " * 12)
    for size in SIZES:
        frame = make_frame(*size)
        times = max(1, round(480 / max(size)))
        place_of(draw_overlay(frame, result), frame.repeat(times, axis=0).repeat(times, axis=1))


@pytest.mark.parametrize(
    ("frame", "level"), [(np.zeros((48, 64), np.uint8), 0), (np.full((48, 64, 3), 40_000, np.uint16), 156)]
)
def test_grey_and_deep_frames_are_drawn_as_they_are_inspected(frame: np.ndarray, level: int) -> None:
    picture = draw_overlay(frame, make_record(Verdict.OK, size=(64, 48)).result)
    place_of(picture, np.full((8 * 48, 8 * 64, 3), level, np.uint8))


@pytest.mark.parametrize("shape", [(8, 125_000, 3), (125_000, 8, 3), (9, 60_000)])
def test_a_strip_that_nobody_judged_makes_no_picture_of_gigabytes(shape: tuple[int, ...]) -> None:
    picture = draw_overlay(np.zeros(shape, np.uint8), make_record(Verdict.ERROR).result)
    assert picture.nbytes < 16 << 20
    assert picture.nbytes == draw_overlay(np.zeros(0, np.uint8), make_record(Verdict.ERROR).result).nbytes


def test_rows_that_lie_over_each_other_in_memory_are_inspected_and_drawn(tiny_inspector: Inspector) -> None:
    line = np.random.default_rng(0).integers(0, 255, 400, np.uint8)
    for frame in (
        np.lib.stride_tricks.sliding_window_view(line, 80)[:80],
        np.lib.stride_tricks.as_strided(line, (80, 80, 3), (3, 3, 1)),
        np.broadcast_to(line[:80], (80, 80)),
    ):
        result, own = tiny_inspector(frame), tiny_inspector(frame.copy())
        assert (result.verdict, result.reason) == (own.verdict, own.reason)
        assert (draw_overlay(frame, result) == draw_overlay(frame.copy(), own)).all()


@pytest.mark.parametrize("words", [{"opacity": float("nan")}, {"opacity": 5}, {"opacity": "1"}, {"hud": 3}])
def test_a_wrong_word_for_drawing_is_a_sentence(words: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="; give "):
        draw_overlay(make_frame(), make_record().result, **words)
    draw_overlay(make_frame(), make_record().result, opacity=np.float32(0.5))
