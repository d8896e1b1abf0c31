"""From a camera's frame to the tensor the graph takes; the host fits with this same function.

The rules, each decided by dtype and shape and never by content:

- uint8 is taken as it is; uint16 is full range and becomes uint8 by division by 257 (65535 → 255), rounded.
- One channel is repeated to three; three are BGR as OpenCV gives them; of four the alpha channel is dropped.
- Resizing ignores the aspect ratio: OpenCV's area averaging when the image gets smaller, bilinear otherwise.
- A centre crop, where the model has one, follows the resize.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from ..errors import FrameError
from ..validation import require
from .geometry import Roi
from .resize import Image, resize

__all__ = ["MAX_RESIZED_PIXELS", "MIN_SIDE", "Image", "PreprocessSpec", "as_bgr8", "crop_roi", "preprocess"]

MIN_SIDE = 8
"""Smallest height and width in pixels that a frame may have."""

MAX_RESIZED_PIXELS = 1 << 24
"""Largest picture that a frame may be resized to, 48 MiB: also where a centre crop leaves little of it."""


class PreprocessSpec(BaseModel):
    """How a frame becomes a model input; stored in the manifest, in pixels.

    Attributes:
        height, width: size that the whole frame (or its region of interest) is resized to.
        crop_height, crop_width: size of the centre crop taken afterwards; absent when nothing is cropped.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: PositiveInt
    width: PositiveInt
    crop_height: PositiveInt | None = None
    crop_width: PositiveInt | None = None

    @model_validator(mode="after")
    def _check(self) -> PreprocessSpec:
        if (self.crop_height is None) != (self.crop_width is None):
            raise ValueError("crop_height and crop_width go together")
        if self.height * self.width > MAX_RESIZED_PIXELS:
            raise ValueError(
                f"frames would be resized to {self.width}x{self.height} pixels; {MAX_RESIZED_PIXELS} at most are sane"
            )
        height, width = self.input_size
        if height > self.height or width > self.width:
            raise ValueError("the centre crop is larger than the resized image")
        if min(height, width) < MIN_SIDE:
            raise ValueError(f"the model's input is smaller than {MIN_SIDE} pixels")
        return self

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        return self.crop_height or self.height, self.crop_width or self.width

    def crop_box(self, height: int, width: int) -> Roi:
        """The part of a ``height`` x ``width`` image that the model sees, as x, y, width, height in its pixels."""
        top, left = self._crop_origin()
        input_height, input_width = self.input_size
        y0, y1 = (round(v * height / self.height) for v in (top, top + input_height))
        x0, x1 = (round(v * width / self.width) for v in (left, left + input_width))
        return x0, y0, x1 - x0, y1 - y0

    def seen_box(self, roi: Roi) -> Roi:
        """The part of the frame that reaches the model: the region of interest less what the centre crop takes."""
        x, y, width, height = roi
        inner_x, inner_y, inner_width, inner_height = self.crop_box(height, width)
        return x + inner_x, y + inner_y, inner_width, inner_height

    def _crop_origin(self) -> tuple[int, int]:
        height, width = self.input_size
        return (self.height - height) // 2, (self.width - width) // 2


def as_bgr8(frame: NDArray[Any]) -> Image:
    """Bring a frame to HxWx3 uint8 BGR.

    Args:
        frame: HxW, HxWx1, HxWx3 (BGR) or HxWx4 (BGRA), uint8 in [0, 255] or uint16 in [0, 65535].

    Returns:
        HxWx3 uint8 BGR; the frame itself when it already is that.

    Raises:
        FrameError: another dtype or shape, or a side under ``MIN_SIDE`` pixels.
    """
    return _three_channels(_as_uint8(frame))


def preprocess(frame: NDArray[Any], spec: PreprocessSpec, out: Image | None = None) -> Image:
    """Turn a frame into the model's input.

    Args:
        frame: see ``as_bgr8``.
        spec: the size to reach.
        out: HxWx3 uint8, C-contiguous, of ``spec.input_size``: where to put it, such as the memory that inference
            reads.

    Returns:
        HxWx3 uint8 BGR, C-contiguous, of ``spec.input_size``: ``out`` where it is given; otherwise the frame itself
        when it already is that, and a new array when not.

    Raises:
        FrameError: as ``as_bgr8``; nothing was written to ``out``.
        ConfigError: ``spec`` is none.
    """
    if not isinstance(spec, PreprocessSpec):
        require("spec", spec, PreprocessSpec, "a PreprocessSpec")
    image = _as_uint8(frame)
    size = (spec.height, spec.width)
    if image.shape[:2] != size:
        # Grey is resized as grey, which gives the same pixels in less time.
        straight = out is not None and image.ndim == 3 and spec.input_size == size
        image = resize(image, size, out if straight else None)
        if straight:
            return image
    height, width = spec.input_size
    top, left = spec._crop_origin()
    image = image[top : top + height, left : left + width]
    if out is None:
        return np.ascontiguousarray(_three_channels(image))
    out[...] = image if image.ndim == 3 else image[..., None]
    return out


def _as_uint8(frame: NDArray[Any]) -> Image:
    """HxW or HxWx3 uint8; refuses what no frame can be."""
    if not isinstance(frame, np.ndarray):
        what = "nothing (None)" if frame is None else f"a {type(frame).__name__}"
        raise FrameError(f"The frame is {what}; give a NumPy array of pixels, such as cv2.imread returns.")
    if frame.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"The frame has dtype {frame.dtype}; give uint8 or uint16 pixels.")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3, 4)):
        raise FrameError(f"The frame has shape {frame.shape}; give HxW, HxWx1, HxWx3 or HxWx4 pixels.")
    if min(frame.shape[:2]) < MIN_SIDE:
        height, width = frame.shape[:2]
        raise FrameError(f"The image is {width}x{height} pixels; give at least {MIN_SIDE}x{MIN_SIDE}.")
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[..., 0]
    if frame.dtype == np.uint16:
        # 257 = 65535 / 255: white stays white, and a 12-bit camera's grey is not stretched behind the user's back.
        # As 257 is odd no value lies half way between two, so rounding in float32 is exact.
        frame = cv2.convertScaleAbs(frame, alpha=1 / 257)
    if frame.ndim == 3 and frame.shape[2] == 4:
        # Not a view without alpha: OpenCV would copy that pixel by pixel.
        frame = cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR)
    return frame.astype(np.uint8, copy=False)


def _three_channels(image: Image) -> Image:
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)


def crop_roi(frame: NDArray[Any], roi: Roi) -> NDArray[Any]:
    """The region of interest of a frame, a view; raises ``FrameError`` when it does not fit."""
    if not isinstance(frame, np.ndarray) or frame.ndim < 2:
        return frame  # preprocess says what is wrong with it
    x, y, width, height = roi
    if x < 0 or y < 0 or y + height > frame.shape[0] or x + width > frame.shape[1]:
        raise FrameError(
            f"The region of interest {x},{y},{width},{height} does not fit a frame of "
            f"{frame.shape[1]}x{frame.shape[0]} pixels; give one that does."
        )
    return frame[y : y + height, x : x + width]
