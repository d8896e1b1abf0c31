"""From a camera's frame to the tensor the graph takes; the host fits with this same function.

The rules, each decided by dtype and shape and never by content:

- A region of interest, where the model has one, is cut out first.
- uint8 is taken as it is; uint16 becomes uint8 by its bit depth n (2ⁿ − 1 → 255), rounded: the one that the model was
  fitted with, the full 16 bits where it has none. A value beyond the depth is an error.
- One channel is repeated to three; three are BGR as OpenCV gives them; of four the fourth is alpha (full range): the
  picture is laid on black, so that no colour under transparent pixels counts.
- Resizing ignores the aspect ratio: OpenCV's area averaging when the image gets smaller, bilinear otherwise.
- A centre crop, where the model has one, follows the resize.
"""

from __future__ import annotations

from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, PositiveInt, model_validator

from ..errors import FrameError
from ..validation import Checked, require
from .geometry import Roi
from .resize import Image, resize

__all__ = [
    "FULL_DEPTH",
    "MAX_RESIZED_PIXELS",
    "MIN_SIDE",
    "BitDepth",
    "Image",
    "PreprocessSpec",
    "as_bgr8",
    "crop_roi",
    "preprocess",
    "visible",
]

MIN_SIDE = 8
"""Smallest height and width in pixels that a frame may have."""
FULL_DEPTH = 16
BitDepth = Annotated[int, Field(ge=8, le=FULL_DEPTH)]

MAX_RESIZED_PIXELS = 1 << 24
"""Largest picture that a frame may be resized to, 48 MiB: also where a centre crop leaves little of it."""


class PreprocessSpec(Checked):
    """How a frame becomes a model input; stored in the manifest, in pixels.

    Attributes:
        height, width: size that the whole frame (or its region of interest) is resized to.
        crop_height, crop_width: size of the centre crop taken afterwards; absent when nothing is cropped.
        bit_depth: of uint16 frames: their values end at 2ⁿ − 1. Absent where no 16-bit picture was seen: they are full
            range then.
        roi: the region of interest, x, y, width, height in frame pixels; the whole frame when absent.
        frame_size: height and width of the frames that the region is meant for; of any when absent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    height: PositiveInt
    width: PositiveInt
    crop_height: PositiveInt | None = None
    crop_width: PositiveInt | None = None
    bit_depth: BitDepth | None = None
    roi: Roi | None = None
    frame_size: tuple[PositiveInt, PositiveInt] | None = None

    @model_validator(mode="after")
    def _check(self) -> PreprocessSpec:
        if self.roi is not None and (min(self.roi[:2]) < 0 or min(self.roi[2:]) < MIN_SIDE):
            raise ValueError(f"the region of interest is not x, y, width, height, of {MIN_SIDE} pixels a side at least")
        if self.frame_size is not None and self.roi is None:
            raise ValueError("frame_size goes with a region of interest")
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

    @property
    def depth(self) -> int:
        """Bits that uint16 frames use."""
        return self.bit_depth or FULL_DEPTH

    def looking_at(self, roi: Roi | None, frame_size: tuple[int, int] | None = None) -> PreprocessSpec:
        """The same for another region of interest, or for none; itself where it is this one."""
        if roi == self.roi:
            return self
        return self.model_copy(update={"roi": roi, "frame_size": None if roi is None else frame_size})

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


def as_bgr8(frame: NDArray[Any], bit_depth: int = FULL_DEPTH) -> Image:
    """Bring a frame to HxWx3 uint8 BGR, to be looked at.

    Args:
        frame: HxW, HxWx1, HxWx3 (BGR) or HxWx4 (BGRA), uint8 in [0, 255] or uint16.
        bit_depth: n of a uint16 frame: 2ⁿ − 1 is white, and so is what exceeds it.

    Returns:
        HxWx3 uint8 BGR; the frame itself when it already is that.

    Raises:
        FrameError: another dtype or shape, or a side under ``MIN_SIDE`` pixels.
    """
    _require_frame(frame)
    return _three_channels(_as_uint8(frame, bit_depth))


def preprocess(frame: NDArray[Any], spec: PreprocessSpec, out: Image | None = None) -> Image:
    """Turn a frame into the model's input.

    Args:
        frame: see ``as_bgr8``; whole, also where the model looks at a region of it.
        spec: what to look at, what 16 bits mean, and the size to reach.
        out: HxWx3 uint8, C-contiguous, of ``spec.input_size``: where to put it, such as the memory that inference
            reads.

    Returns:
        HxWx3 uint8 BGR, C-contiguous, of ``spec.input_size``: ``out`` where it is given; otherwise the frame itself
        when it already is that, and a new array when not.

    Raises:
        FrameError: as ``as_bgr8``; a region of interest that does not fit, or is for frames of another size; a value
            beyond ``spec.bit_depth``. Nothing was written to ``out``.
        ConfigError: ``spec`` is none.
    """
    if not isinstance(spec, PreprocessSpec):
        require("spec", spec, PreprocessSpec, "a PreprocessSpec")
    frame = _region(frame, spec)
    _require_frame(frame)
    _require_depth(frame, spec.depth)
    image = _as_uint8(frame, spec.depth)
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


def visible(frame: NDArray[Any]) -> NDArray[Any]:
    """A frame without its alpha channel, if it has one: HxW or HxWx3, 0 where nothing but transparency is."""
    if frame.ndim < 3 or frame.shape[2] != 4:
        return frame
    return np.asarray(frame[..., :3] * (frame[..., 3:] > 0))


def _region(frame: NDArray[Any], spec: PreprocessSpec) -> NDArray[Any]:
    if spec.roi is None or not isinstance(frame, np.ndarray):
        return frame
    if spec.frame_size is not None and frame.ndim >= 2 and frame.shape[:2] != spec.frame_size:
        height, width = spec.frame_size
        raise FrameError(
            f"The region of interest is for frames of {width}x{height} pixels and this one has "
            f"{frame.shape[1]}x{frame.shape[0]}; check the camera's resolution."
        )
    return crop_roi(frame, spec.roi)


def _require_frame(frame: object) -> None:
    """Refuse what no frame can be."""
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


def _require_depth(frame: NDArray[Any], bit_depth: int) -> None:
    """Refuse 16-bit pixels that are no numbers of so many bits: they come from another camera or another setting."""
    if frame.dtype != np.uint16 or bit_depth >= FULL_DEPTH:
        return
    highest, largest = int(visible(frame).max()), (1 << bit_depth) - 1
    if highest > largest:
        raise FrameError(
            f"A pixel has the value {highest} where {bit_depth} bits end at {largest}; check the camera's pixel "
            "format, or fit with another --bit-depth."
        )


def _as_uint8(frame: NDArray[Any], bit_depth: int) -> Image:
    """HxW or HxWx3 uint8."""
    if 0 <= frame.strides[0] < frame.shape[1] * abs(frame.strides[1]):
        # Rows that lie over each other in memory, which OpenCV refuses.
        frame = np.ascontiguousarray(frame)
    if frame.ndim == 3 and frame.shape[2] == 1:
        frame = frame[..., 0]
    if frame.ndim == 3 and frame.shape[2] == 4:
        return _on_black(frame, bit_depth)
    return _levels(frame, bit_depth)


def _levels(values: NDArray[Any], bit_depth: int = FULL_DEPTH) -> Image:
    if values.dtype == np.uint16:
        # White stays white. As 2ⁿ − 1 is odd no value lies half way between two, so rounding in float32 is exact.
        values = cv2.convertScaleAbs(values, alpha=255 / ((1 << bit_depth) - 1))
    return values.astype(np.uint8, copy=False)


def _on_black(frame: NDArray[Any], bit_depth: int) -> Image:
    """HxWx3 uint8: a BGRA picture laid on black; the plain picture where all of it is opaque."""
    # Not a view without alpha: OpenCV would copy that pixel by pixel.
    colour = _levels(cv2.cvtColor(frame, cv2.COLOR_BGRA2BGR), bit_depth)
    alpha = _levels(np.ascontiguousarray(frame[..., 3]))
    if alpha.min() == 255:
        return colour
    return np.asarray((colour.astype(np.uint16) * alpha[..., None] + 127) // 255, np.uint8)


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
