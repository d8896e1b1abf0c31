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

from .errors import FrameError

__all__ = ["MIN_SIDE", "Image", "PreprocessSpec", "as_bgr8", "preprocess"]

Image = NDArray[np.uint8]
MIN_SIDE = 8
"""Smallest height and width in pixels that a frame may have."""


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

    def crop_box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """The part of a ``height`` x ``width`` image that the model sees, as x, y, width, height in its pixels."""
        top, left = self._crop_origin()
        input_height, input_width = self.input_size
        y0, y1 = (round(v * height / self.height) for v in (top, top + input_height))
        x0, x1 = (round(v * width / self.width) for v in (left, left + input_width))
        return x0, y0, x1 - x0, y1 - y0

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
    if frame.dtype not in (np.uint8, np.uint16):
        raise FrameError(f"The frame has dtype {frame.dtype}; give uint8 or uint16 pixels.")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] not in (1, 3, 4)):
        raise FrameError(f"The frame has shape {frame.shape}; give HxW, HxWx1, HxWx3 or HxWx4 pixels.")
    if min(frame.shape[:2]) < MIN_SIDE:
        height, width = frame.shape[:2]
        raise FrameError(f"The image is {width}x{height} pixels; give at least {MIN_SIDE}x{MIN_SIDE}.")
    if frame.dtype == np.uint16:
        # 257 = 65535 / 255: white stays white, and a 12-bit camera's grey is not stretched behind the user's back.
        frame = ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if frame.ndim == 2 or frame.shape[2] == 1:
        return cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
    return frame[:, :, :3]


def preprocess(frame: NDArray[Any], spec: PreprocessSpec) -> Image:
    """Turn a frame into the model's input.

    Args:
        frame: see ``as_bgr8``.
        spec: the size to reach.

    Returns:
        HxWx3 uint8 BGR, C-contiguous, of ``spec.input_size``.

    Raises:
        FrameError: as ``as_bgr8``.
    """
    image = as_bgr8(frame)
    if image.shape[:2] != (spec.height, spec.width):
        shrinks = image.shape[0] * image.shape[1] > spec.height * spec.width
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        # OpenCV wants its input contiguous, or copies the whole frame behind the scenes; both give the same pixels.
        image = cv2.resize(image, (spec.width, spec.height), interpolation=interpolation).astype(np.uint8, copy=False)
    height, width = spec.input_size
    top, left = spec._crop_origin()
    return np.ascontiguousarray(image[top : top + height, left : left + width])
