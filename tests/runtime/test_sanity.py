from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part

from patchcore_edge_runtime import Bundle, Inspector, Verdict
from patchcore_edge_runtime.images.files import image_files, read_image
from patchcore_edge_runtime.images.frame_check import FrameLimits, FrameStats, is_flat, learn_limits, measure
from patchcore_edge_runtime.images.preprocess import PreprocessSpec, preprocess
from patchcore_edge_runtime.images.twins import twin_share
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
    stats = [measure(preprocess(read_image(file), manifest.preprocess), read_image(file)) for file in files]
    assert manifest.sanity == learn_limits(stats)
    assert [manifest.sanity.reason(one) for one in stats] == [""] * len(stats)
    assert learn_limits([]) is None


def test_dark_field_pictures_may_be_mostly_black() -> None:
    frame = np.zeros((64, 64, 3), np.uint8)
    cv2.circle(frame, (32, 32), 8, (200, 200, 200), 2)
    spec = PreprocessSpec(height=64, width=64)
    limits = learn_limits([measure(preprocess(frame, spec), frame)])
    assert limits is not None
    assert limits.reason(measure(frame, frame)) == ""
    assert "black" in limits.reason(measure(np.zeros_like(frame), frame))


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


_BUSY = """
import time
import numpy as np
from patchcore_edge_runtime.images.frame_check import measure

frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
image = np.ascontiguousarray(frame[:256, :256])
measure(image, frame)
time.sleep(0.5)  # what importing has set going
mine, all_threads = time.thread_time(), time.process_time()
for _ in range(100):
    measure(image, frame)
mine, all_threads = time.thread_time() - mine, time.process_time() - all_threads
print(all_threads / mine)
"""


def test_looking_at_a_frame_leaves_the_other_cores_to_inference() -> None:
    # BLAS's threads go on spinning when their work is done: inference then took twice its time.
    alone = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", _BUSY], env=alone, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1.3


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


def blank(frame: np.ndarray, colour: int | tuple[int, int, int], where: tuple[int, int]) -> np.ndarray:
    """A frame that is of one colour from a row and a column on."""
    frame[where[0] :, where[1] :] = colour
    return frame


NOTHING = {
    "sensor noise": [
        np.clip(np.random.default_rng(9).normal(level, sigma, (80, 80)), 0, 255).astype(np.uint8)
        for level in (90, 110, 130)
        for sigma in (5, 10, 20, 30, 40)
    ],
    "a lens cap with gain": [
        np.clip(np.random.default_rng(9).normal(90, 12, (80, 80, 3)) + np.linspace(0, 15, 80)[:, None], 0, 255).astype(
            np.uint8
        )
    ],
    "half black": [np.concatenate([good_part(seed)[:40], np.zeros((40, 80, 3), np.uint8)]) for seed in range(4)],
    "a quarter, an eighth or a corner of one colour": [
        blank(good_part(seed), colour, where)
        for seed, colour in enumerate((0, 128, 255, (255, 0, 0)))
        for where in ((60, 0), (70, 0), (0, 60), (40, 40))
    ],
    "half of it one row": [np.concatenate([good_part(1)[:40], good_part(1)[40:41].repeat(40, 0)])],
    "its upper half twice": [good_part(seed)[[*range(40), *range(40)]] for seed in range(4)],
    "its left half twice": [good_part(seed)[:, [*range(40), *range(40)]] for seed in range(4)],
    "shifted channels": [
        np.dstack([np.roll(good_part(seed)[..., 0], shift, 1), *good_part(seed)[..., 1:].transpose(2, 0, 1)])
        for seed in range(3)
        for shift in (1, 4, 20)
    ],
}


def periodic_part(seed: int) -> np.ndarray:
    """A grid that is the same from place to place but for the sensor's noise."""
    wave = 60 * np.sin(np.arange(300) * 2 * np.pi / 20)
    return np.clip(120 + wave[:, None] + wave + np.random.default_rng(seed).normal(0, 3, (300, 300)), 0, 255).astype(
        np.uint8
    )


def third_thrice(frame: np.ndarray) -> np.ndarray:
    return frame[:, np.arange(300) % 100]


TWICE = {
    "its left half": lambda frame: frame[:, np.arange(300) % 150],
    "its left third": third_thrice,
    "each second row, of a half": lambda frame: np.concatenate([frame[:150], frame[150:][::2].repeat(2, 0)]),
    "a row that sticks": lambda frame: frame[np.minimum(np.arange(300), 200)],
    "its end at its beginning": lambda frame: np.concatenate([frame[-120:], frame[120:]]),
}


@pytest.mark.parametrize("what", TWICE)
@pytest.mark.parametrize("deep", [False, True])
def test_what_comes_twice_is_told_by_its_noise_whatever_the_part_repeats_itself(what: str, deep: bool) -> None:
    spec = PreprocessSpec(height=128, width=128)

    def stats(frame: np.ndarray) -> FrameStats:
        frame = frame.astype(np.uint16) * 257 if deep else frame
        return measure(preprocess(frame, spec), frame)

    limits = learn_limits([stats(periodic_part(seed)) for seed in range(20)])
    assert limits is not None
    assert [limits.reason(stats(periodic_part(100 + seed))) for seed in range(20)] == [""] * 20
    for seed in range(5):
        assert limits.reason(stats(TWICE[what](periodic_part(200 + seed))))


def test_drawings_black_backgrounds_and_enlarged_pictures_are_no_copies() -> None:
    drawing = np.zeros((200, 200, 3), np.uint8)
    cv2.rectangle(drawing, (40, 60), (160, 140), (255, 255, 255), -1)
    assert twin_share(drawing) == 0
    on_black = np.zeros((300, 300), np.uint8)
    on_black[100:200, 100:200] = periodic_part(0)[:100, :100]
    assert twin_share(on_black) == 0
    # Where good pictures are enlarged ones, so may others be.
    spec = PreprocessSpec(height=128, width=128)
    large = [periodic_part(seed).repeat(2, 0).repeat(2, 1) for seed in range(8)]
    limits = learn_limits([measure(preprocess(one, spec), one) for one in large[:4]])
    assert limits is not None
    assert [limits.reason(measure(preprocess(one, spec), one)) for one in large[4:]] == [""] * 4


def test_backgrounds_that_are_black_in_good_pictures_may_be_so_and_nothing_else() -> None:
    spec = PreprocessSpec(height=128, width=128)

    def on_black(seed: int) -> np.ndarray:
        frame = np.zeros((300, 300), np.uint8)
        top, left = np.random.default_rng(seed).integers(40, 60, 2)
        frame[top : top + 200, left : left + 200] = periodic_part(seed)[:200, :200]
        return frame

    limits = learn_limits([measure(preprocess(one, spec), one) for one in map(on_black, range(20))])
    assert limits is not None
    for seed in range(100, 120):
        frame = on_black(seed)
        assert limits.reason(measure(preprocess(frame, spec), frame)) == ""
        frame[210:] = 0
        assert "in half of the frame are blank" in limits.reason(measure(preprocess(frame, spec), frame))


@pytest.mark.parametrize("quality", [95, 60, 30])
def test_what_a_strong_jpeg_makes_alike_is_no_copy(quality: int) -> None:
    for seed in range(4):
        smooth = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (300, 300), np.uint8), (0, 0), 4)
        for one in (good_part(seed, size=200), cv2.merge([smooth] * 3)):
            data = cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            frame = cv2.imdecode(data, cv2.IMREAD_COLOR)
            assert twin_share(frame) < 0.1
            height = len(frame)
            assert twin_share(frame[np.arange(height) % (height // 2)]) > 0.5


def test_of_a_grey_camera_channels_that_are_shifted_by_a_little_are_an_error_and_a_tint_is_none() -> None:
    spec = PreprocessSpec(height=128, width=128)
    lines = [cv2.GaussianBlur(periodic_part(seed), (0, 0), 1.5) for seed in range(12)]
    limits = learn_limits([measure(preprocess(one, spec), one) for one in lines[:8]])
    assert limits is not None
    for one in lines[8:]:
        colour = cv2.merge([one] * 3)
        tinted = np.clip(colour * np.array([1.0, 1.0, 1.03]) + np.array([4, 0, 0]), 0, 255).astype(np.uint8)
        assert limits.reason(measure(preprocess(tinted, spec), tinted)) == ""
        shifted = np.dstack([np.roll(one, 3, 1), one, one])
        assert "do not lie on each other" in limits.reason(measure(preprocess(shifted, spec), shifted))


@pytest.mark.parametrize("kind", NOTHING)
def test_a_frame_that_holds_no_picture_of_its_own_is_an_error(kind: str, tiny_inspector: Inspector) -> None:
    for frame in NOTHING[kind]:
        result = tiny_inspector(frame)
        assert result.verdict is Verdict.ERROR
        assert "nlike" in result.reason


def on_a_backdrop(seed: int, sigma: float) -> np.ndarray:
    """A part in the middle of something flat, as a sensor with that much noise sees it."""
    frame = np.full((256, 256, 3), 120.0)
    frame[64:192, 64:192] = good_part(seed, size=128)
    return np.clip(frame + np.random.default_rng(seed).normal(0, sigma, (256, 256, 1)), 0, 255).astype(np.uint8)


NOISY_PARTS = {
    "fills the frame": lambda seed: good_part(seed, size=256),
    "on a backdrop": lambda seed: on_a_backdrop(seed, 1.5 + seed % 3 / 2),
}


@pytest.mark.parametrize("part", NOISY_PARTS)
@pytest.mark.parametrize("sigma", [12, 20, 40])
def test_a_part_of_the_frame_that_is_noise_of_the_parts_own_grey_is_an_error(part: str, sigma: float) -> None:
    """A model may call it good: in grey and in its finest details it is like the part."""
    spec = PreprocessSpec(height=256, width=256)
    frames = [NOISY_PARTS[part](seed) for seed in range(16)]
    limits = learn_limits([measure(preprocess(one, spec), one) for one in frames[:8]])
    assert limits is not None
    for seed, frame in enumerate(frames[8:]):
        assert limits.reason(measure(preprocess(frame, spec), frame)) == ""
        noise = np.random.default_rng(seed).normal(frame.mean(), sigma, (256, 256, 1)).clip(0, 255).astype(np.uint8)
        turned = np.rot90(frame, seed).copy()
        turned[: 128 if seed % 2 else 64] = noise[: 128 if seed % 2 else 64]
        found = limits.reason(measure(preprocess(turned, spec), turned))
        assert "noise and no picture, unlike" in found.lower(), found


def colour_part(seed: int, defect: bool = False) -> np.ndarray:
    """A green board with copper and a label, its channels on each other, as a colour camera sees it."""
    rng = np.random.default_rng(seed)
    frame = np.full((96, 96, 3), (30, 110, 80), np.uint8)
    for place in range(0, 96, 12):
        cv2.line(frame, (0, place + 4), (95, 95 - place), (80, 160, 210), 2, cv2.LINE_AA)
    cv2.rectangle(frame, (30, 40), (66, 60), (230, 225, 220), -1)
    if defect:
        cv2.circle(frame, tuple(int(place) for place in rng.integers(20, 70, 2)), 14, (30, 20, 240), -1)
    return np.clip(frame + rng.normal(0, 4, frame.shape), 0, 255).astype(np.uint8)


def test_colours_are_learned_and_a_coloured_defect_is_for_the_model_to_judge() -> None:
    limits = learn_limits([measure(colour_part(seed), colour_part(seed)) for seed in range(8)])
    assert limits is not None

    def reason(frame: np.ndarray) -> str:
        return limits.reason(measure(frame, frame))

    assert [reason(colour_part(20 + seed, defect)) for seed in range(4) for defect in (False, True)] == [""] * 8
    shifted = colour_part(30)
    shifted[..., 2] = np.roll(shifted[..., 2], 5, 1)
    assert "do not lie on each other" in reason(shifted)
    assert "in colour" in reason(colour_part(31)[..., ::-1].copy())


def test_bundles_whose_images_were_not_measured_so_are_judged_as_before(tiny_bundle: Path) -> None:
    limits = Bundle.load(tiny_bundle).manifest.sanity
    assert limits is not None
    before = limits.model_dump()
    del before["structure"]
    old = FrameLimits.model_validate(before)
    assert old.structure is None
    noise = cv2.cvtColor(NOTHING["sensor noise"][6], cv2.COLOR_GRAY2BGR)
    assert old.reason(measure(noise, noise)) == ""


@pytest.mark.parametrize("cells", ["mono", "poly"])
def test_no_real_cell_good_or_cracked_is_taken_for_no_picture(cells: str, elpv_folder: Path) -> None:
    rows = [line.split() for line in (elpv_folder / "labels.csv").read_text().splitlines() if line.strip()]
    names = {share: [row[0] for row in rows if row[1:] == [share, cells]] for share in ("0.0", "1.0")}
    spec = PreprocessSpec(height=128, width=128)

    def stats(some: list[str]) -> list[FrameStats]:
        frames = [read_image(elpv_folder / name) for name in some]
        return [measure(preprocess(frame, spec), frame) for frame in frames]

    limits = learn_limits(stats(names["0.0"][:24]))
    assert limits is not None
    assert limits.structure is not None
    others = stats(names["0.0"][24:124]) + stats(names["1.0"][:100])
    assert [limits.structure.reason(one.structure) for one in others if one.structure] == [""] * 200
