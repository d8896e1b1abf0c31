from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from patchcore_edge_runtime.errors import ConfigError, FrameError
from patchcore_edge_runtime.images.preprocess import MIN_SIDE, PreprocessSpec, as_bgr8, preprocess

SPEC = PreprocessSpec(height=32, width=48)
frames = npst.arrays(
    dtype=st.sampled_from([np.uint8, np.uint16]),
    shape=st.one_of(
        st.tuples(st.integers(8, 40), st.integers(8, 40)),
        st.tuples(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3, 4])),
    ),
)


@given(frames)
def test_every_permitted_frame_becomes_a_model_input(frame: np.ndarray) -> None:
    image = preprocess(frame, SPEC)
    assert image.shape == (32, 48, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


@given(frames)
def test_the_dtype_decides_the_scale_and_never_the_content(frame: np.ndarray) -> None:
    """A dark 16-bit frame stays dark: nothing is stretched to the brightest pixel."""
    full = 255 if frame.dtype == np.uint8 else 65535
    expected = (frame[..., None] if frame.ndim == 2 else frame[..., :3]) * (255 / full)
    opaque = frame.ndim == 2 or frame.shape[2] < 4
    if not opaque:
        expected = expected * (frame[..., 3:] / full)
    difference = as_bgr8(frame).astype(float) - expected
    # Colour and alpha are rounded before their product is.
    assert np.abs(difference).max() <= (0.5 if opaque else 1.5) + 1e-6


def test_white_and_black_keep_their_values_in_16_bit() -> None:
    assert as_bgr8(np.full((8, 8), 65535, np.uint16)).min() == 255
    assert as_bgr8(np.zeros((8, 8), np.uint16)).max() == 0


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_a_declared_depth_takes_its_white_to_white_and_every_level_to_the_nearest(bits: int) -> None:
    white = (1 << bits) - 1
    frame = np.linspace(0, white, 64 * 64).round().astype(np.uint16).reshape(64, 64)
    spec = PreprocessSpec(height=64, width=64, bit_depth=bits)
    assert np.array_equal(preprocess(frame, spec)[..., 0], np.rint(frame * (255 / white)))
    assert np.array_equal(as_bgr8(frame, bits)[..., 0], np.rint(frame * (255 / white)))


def test_a_value_beyond_the_declared_depth_is_refused_and_a_transparent_one_is_no_value() -> None:
    spec = PreprocessSpec(height=8, width=8, bit_depth=12)
    frame = np.full((8, 8, 4), 4095, np.uint16)
    frame[..., 3] = 65535
    assert preprocess(frame, spec).min() == 255
    frame[2, 2, 1] = 4096
    with pytest.raises(FrameError, match=r"4096 where 12 bits end at 4095.*pixel format"):
        preprocess(frame, spec)
    frame[2, 2, 3] = 0
    assert preprocess(frame, spec)[2, 2].max() == 0


def test_eight_bit_frames_are_taken_as_they_are_whatever_depth_is_declared() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    assert np.array_equal(preprocess(frame, SPEC.model_copy(update={"bit_depth": 10})), frame)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_under_transparent_pixels_is_black_and_opaque_alpha_is_the_plain_picture(dtype: type) -> None:
    full, rng = np.iinfo(dtype).max, np.random.default_rng(0)
    colour = rng.integers(0, full, (32, 48, 3), dtype, endpoint=True)
    alpha = np.full((32, 48, 1), full, dtype)
    assert np.array_equal(preprocess(np.dstack([colour, alpha]), SPEC), preprocess(colour, SPEC))
    alpha[:16] = 0
    hidden = colour.copy()
    hidden[:16] = rng.integers(0, full, (16, 48, 3), dtype)
    one, other = (preprocess(np.dstack([some, alpha]), SPEC) for some in (colour, hidden))
    assert np.array_equal(one, other)
    assert not one[:16].any()
    assert np.array_equal(one[16:], preprocess(colour, SPEC)[16:])


def test_a_region_of_interest_is_cut_out_of_frames_of_its_size_and_of_no_other() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    spec = SPEC.model_copy(update={"roi": (10, 20, 96, 64), "frame_size": (100, 120)})
    assert np.array_equal(preprocess(frame, spec), preprocess(frame[20:84, 10:106], SPEC))
    with pytest.raises(FrameError, match="frames of 120x100 pixels and this one has 120x101"):
        preprocess(np.zeros((101, 120, 3), np.uint8), spec)
    with pytest.raises(FrameError, match="does not fit"):
        preprocess(frame, SPEC.looking_at((30, 40, 96, 64)))
    with pytest.raises(ConfigError):
        PreprocessSpec(height=32, width=48, roi=(-1, 0, 20, 20))


def test_a_frame_of_the_models_size_passes_unchanged() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    assert np.array_equal(preprocess(frame, SPEC), frame)


def test_shrinking_averages_areas_and_enlarging_is_bilinear() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert np.array_equal(preprocess(frame, SPEC), cv2.resize(frame, (48, 32), interpolation=cv2.INTER_AREA))
    small = np.ascontiguousarray(frame[:16, :24])
    assert np.array_equal(preprocess(small, SPEC), cv2.resize(small, (48, 32), interpolation=cv2.INTER_LINEAR))


def test_a_region_of_a_larger_frame_gives_the_same_pixels_as_its_copy() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    view = frame[20:120, 40:190]
    assert np.array_equal(preprocess(view, SPEC), preprocess(view.copy(), SPEC))


def test_the_centre_crop_follows_the_resize_and_maps_back_to_the_frame() -> None:
    spec = PreprocessSpec(height=64, width=64, crop_height=32, crop_width=48)
    frame = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert spec.input_size == (32, 48)
    assert np.array_equal(preprocess(frame, spec), frame[16:48, 8:56])
    assert spec.crop_box(128, 640) == (80, 32, 480, 64)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((8, 8), np.float32),
        np.zeros((8, 8, 2), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((8, 8, 3, 1), np.uint8),
        np.zeros((MIN_SIDE - 1, 100, 3), np.uint8),
        np.zeros((0, 0, 3), np.uint8),
    ],
)
def test_a_frame_of_another_kind_is_refused_with_one_sentence(frame: np.ndarray) -> None:
    with pytest.raises(FrameError, match=r"^[A-Z][^\n]*\.$"):
        preprocess(frame, SPEC)


@pytest.mark.parametrize(
    "fields",
    [
        {"height": 0, "width": 8},
        {"height": 4, "width": 64},
        {"height": 64, "width": 64, "crop_height": 32},
        {"height": 64, "width": 64, "crop_height": 128, "crop_width": 32},
    ],
)
def test_an_impossible_size_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ConfigError) as error:
        PreprocessSpec(**fields)
    assert re.fullmatch(r"PreprocessSpec: [^\n]+\.", str(error.value)), "a sentence, and no page of pydantic's"
