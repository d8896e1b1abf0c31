from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import ValidationError

from patchcore_edge_runtime.errors import FrameError
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
    expected = frame if frame.ndim == 2 else frame[..., :3]
    difference = as_bgr8(frame).astype(float) - (expected[..., None] if frame.ndim == 2 else expected) * (255 / full)
    assert np.abs(difference).max() <= 0.5 + 1e-6


def test_white_and_black_keep_their_values_in_16_bit() -> None:
    assert as_bgr8(np.full((8, 8), 65535, np.uint16)).min() == 255
    assert as_bgr8(np.zeros((8, 8), np.uint16)).max() == 0


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
    with pytest.raises(ValidationError):
        PreprocessSpec(**fields)
