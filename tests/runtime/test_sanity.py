from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part

from patchcore_edge_runtime import Bundle, Inspector, Verdict
from patchcore_edge_runtime.images.files import image_files, read_image
from patchcore_edge_runtime.images.frame_check import FrameLimits, is_flat, learn_limits, measure
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, preprocess
from patchcore_edge_runtime.inspection.rules import LineRules

FAULTS = {
    "All black": lambda frame: np.clip(np.random.default_rng(0).normal(2, 1, frame.shape), 0, 6).astype(np.uint8),
    "Saturated": lambda frame: np.clip(frame.astype(int) * 5 + 120, 0, 255).astype(np.uint8),
    "Blurred": lambda frame: cv2.GaussianBlur(frame, (0, 0), 6),
    "brightness": lambda frame: np.clip(frame.astype(int) + 60, 0, 246).astype(np.uint8),
    "size": lambda frame: cv2.resize(frame, (80, 300)),
}


@pytest.mark.parametrize("reason", FAULTS)
def test_a_frame_that_is_no_picture_of_a_part_is_an_error_with_its_own_reason(
    reason: str, tiny_inspector: Inspector
) -> None:
    result = tiny_inspector(FAULTS[reason](good_part()))
    assert result.verdict is Verdict.ERROR
    assert reason in result.reason
    assert result.model_map is None


def test_parts_of_the_line_pass_good_or_not(tiny_inspector: Inspector) -> None:
    for seed in range(5):
        assert tiny_inspector(good_part(seed)).reason == ""
        assert tiny_inspector(bad_part(seed)).verdict is Verdict.NG


def test_the_limits_are_learned_from_the_calibration_images_and_let_all_of_them_pass(
    tiny_bundle: Path, tiny_data: Path
) -> None:
    manifest = Bundle.load(tiny_bundle).manifest
    files = image_files(tiny_data / "validation" / "good")
    stats = [measure(preprocess(read_image(file), manifest.preprocess), read_image(file).shape[:2]) for file in files]
    assert manifest.sanity == learn_limits(stats)
    assert [manifest.sanity.reason(one) for one in stats] == [""] * len(stats)
    assert learn_limits([]) is None


def test_dark_field_pictures_may_be_mostly_black() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(frame, (32, 32), 8, (200, 200, 200), 2)
    spec = PreprocessSpec(height=64, width=64)
    limits = learn_limits([measure(preprocess(frame, spec), (64, 64))])
    assert limits is not None
    assert limits.reason(measure(frame, (64, 64))) == ""
    assert "black" in limits.reason(measure(np.zeros_like(frame), (64, 64)))


def test_a_flat_frame_is_an_error_even_where_the_line_checks_nothing(tiny_bundle: Path) -> None:
    inspector = Inspector(tiny_bundle, rules=LineRules(check_sanity=False))
    assert inspector(np.zeros((80, 80, 3), np.uint8)).verdict is Verdict.ERROR
    assert inspector(np.full((80, 80, 3), 128, np.uint8)).verdict is Verdict.ERROR
    assert inspector(np.full((80, 80, 4), (255, 0, 0, 255), np.uint8)).verdict is Verdict.ERROR
    for colour in ((255, 0, 0), (200, 30, 30), (0, 255, 0), (16, 128, 240)):
        result = inspector(np.full((80, 80, 3), colour, np.uint8))
        assert result.verdict is Verdict.ERROR, "no signal is blue on many a card"
        assert "one flat colour" in result.reason
    assert inspector(FAULTS["brightness"](good_part())).verdict is not Verdict.ERROR


def test_limits_survive_the_manifest(tiny_bundle: Path) -> None:
    limits = Bundle.load(tiny_bundle).manifest.sanity
    assert limits is not None
    assert FrameLimits.model_validate_json(limits.model_dump_json()) == limits


def test_a_single_pixel_makes_a_frame_that_is_not_flat() -> None:
    blue = np.full((8, 8, 3), (255, 0, 0), np.uint8)
    assert is_flat(blue)
    for y, x, channel in ((0, 0, 0), (7, 7, 2), (3, 4, 1), (0, 7, 1), (7, 0, 0)):
        frame = blue.copy()
        frame[y, x, channel] ^= 1
        assert not is_flat(frame)
    columns = np.tile(np.arange(8, dtype=np.uint8)[None, :, None], (8, 1, 3))
    assert not is_flat(columns)
    assert not is_flat(columns.transpose(1, 0, 2))
