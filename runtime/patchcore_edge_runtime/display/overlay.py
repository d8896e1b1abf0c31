"""The picture a person sees: heatmap, contours, verdict, counters; OpenCV only."""

from __future__ import annotations

from numbers import Real
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, FrameError
from ..images.geometry import Roi
from ..images.preprocess import Image, as_bgr8
from ..inspection.result import InspectionResult
from ..monitoring.status import Snapshot
from ..validation import require
from .layout import Layout, enlargement
from .panel import VERDICT_COLORS, WHITE, draw_hud, draw_verdict

__all__ = ["VERDICT_COLORS", "draw_overlay", "heatmap"]

# In pixel thresholds: where colour sets in, and where it is at its reddest.
_FIRST_LEVEL, _LAST_LEVEL = 0.75, 1.5
_IGNORED = (150, 150, 150)
NO_PICTURE = (480, 640, 3)
"""Of the grey field that stands for a frame that cannot be shown."""
_NO_PICTURE_GREY = 64
_SLIMMEST = 50
"""Longer side over the shorter one of what is shown though its verdict is ERROR."""


def heatmap(
    image: Image,
    anomaly_map: NDArray[np.float32],
    pixel_threshold: float,
    opacity: float = 0.6,
    *,
    only_above: bool = False,
) -> Image:
    """Blend a raw map into an image.

    Colour sets in at three quarters of the threshold, is orange at the threshold and red at half as much again. Below,
    pixels stay as they are: good parts score that high everywhere, and shall look like themselves.

    Args:
        image: HxWx3 uint8 BGR.
        anomaly_map: float32 raw scores of any size; it is stretched over the image.
        pixel_threshold: raw score above which a pixel is anomalous.
        opacity: share of the heatmap where the map is at the threshold or above, in [0, 1].
        only_above: leave every pixel alone that is not above the threshold.

    Returns:
        HxWx3 uint8 BGR; the image itself is left alone.
    """
    canvas = image.copy()
    _blend(canvas, anomaly_map, pixel_threshold, opacity, only_above=only_above)
    return canvas


def draw_overlay(
    frame: NDArray[Any],
    result: InspectionResult,
    *,
    opacity: float = 0.6,
    only_above: bool = False,
    hud: Snapshot | None = None,
) -> Image:
    """Draw a result on the frame it belongs to.

    What is written stands beside the frame and hides nothing of it: the verdict's strip above, counters below, the
    verdict's colour all round. Frames that are small are enlarged by a whole number, so that both can be read. A frame
    that is no picture, whose verdict is ERROR, is a grey field with the reason above it.

    Args:
        frame: the inspected frame, as ``Inspector`` takes it, whatever its verdict.
        result: what the inspector returned for it.
        opacity: of the heatmap, in [0, 1]; none is drawn at 0.
        only_above: show the heatmap only above the pixel threshold.
        hud: the line's speed and counters, for a strip below.

    Returns:
        HxWx3 uint8 BGR, larger than the frame and of one size for frames of one size; the frame itself is left alone.

    Raises:
        ConfigError: ``result``, ``opacity`` or ``hud`` is not what it should be.
    """
    require("result", result, InspectionResult, "what the inspector returned for the frame")
    require("opacity", opacity, Real, "a share from 0 to 1")
    if not 0 <= opacity <= 1:
        raise ConfigError(f"opacity is {opacity}; give a share from 0 to 1.")
    require("hud", hud, (Snapshot, type(None)), "the line's counters, as LineStatus.snapshot() gives them")
    shown = _shown(frame, result)
    times = enlargement(int(shown.shape[1]), int(shown.shape[0]))
    layout = Layout.around(int(shown.shape[1]) * times, int(shown.shape[0]) * times, hud)
    canvas = layout.canvas(result.verdict)
    picture = layout.picture(canvas)
    if times == 1:
        picture[:] = shown
    else:
        # Each pixel as a square: what the camera saw, and nothing made up between.
        cv2.resize(shown, (picture.shape[1], picture.shape[0]), dst=picture, interpolation=cv2.INTER_NEAREST)
    if result.model_map is not None:
        _draw_map(picture, result, times, opacity, only_above)
        _draw_contours(picture, result, times)
    _draw_outlines(picture, result, times)
    draw_verdict(layout.strip(canvas), result)
    if hud is not None:
        draw_hud(layout.counters(canvas), hud)
    return canvas


def _shown(frame: NDArray[Any], result: InspectionResult) -> Image:
    """The frame as it can be shown; a grey field of a usual size where it cannot."""
    try:
        shown = as_bgr8(frame, result.preprocess.depth)
    except FrameError:
        shown = None
    # Of a strip of a few rows, which nobody judged, what is written beside it would take gigabytes.
    if shown is None or (result.model_map is None and max(shown.shape[:2]) > _SLIMMEST * min(shown.shape[:2])):
        return np.full(NO_PICTURE, _NO_PICTURE_GREY, np.uint8)
    return shown


def _draw_map(picture: Image, result: InspectionResult, times: int, opacity: float, only_above: bool) -> None:
    x, y, width, height = (times * side for side in result.seen_box)
    if result.model_map is None or opacity <= 0 or min(width, height) <= 0:
        return
    mask = None
    if result.ignore is not None:
        size = times * result.frame_size[0], times * result.frame_size[1]
        mask = result.ignore.mask(size)[y : y + height, x : x + width]
    _blend(
        picture[y : y + height, x : x + width],
        result.model_map,
        result.thresholds.pixel,
        opacity,
        only_above=only_above,
        mask=mask,
    )


def _blend(
    canvas: Image,
    anomaly_map: NDArray[np.float32],
    pixel_threshold: float,
    opacity: float,
    *,
    only_above: bool,
    mask: NDArray[np.bool_] | None = None,
) -> None:
    """Colour ``canvas`` in place, and only the rectangle of it that gets colour: most defects are small.

    At the frame's size everything is in bytes, a tenth of the time that floats take.
    """
    level = (anomaly_map / np.float32(pixel_threshold)).astype(np.float32, copy=False)
    share = (opacity * np.clip((level - _FIRST_LEVEL) / (1 - _FIRST_LEVEL), 0, 1))[..., None]
    box = _reach((level > (1 if only_above else _FIRST_LEVEL)).view(np.uint8), canvas.shape)
    if box is None:
        return
    x, y, width, height = box
    part = canvas[y : y + height, x : x + width]
    colors = cv2.applyColorMap(np.round(np.clip(level / _LAST_LEVEL, 0, 1) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    kept = _stretch(np.round(255 * (1 - share)).astype(np.uint8).repeat(3, axis=2), box, canvas.shape)
    added = _stretch(np.round(colors * share).astype(np.uint8), box, canvas.shape)
    blended = cv2.add(cv2.multiply(part, kept, kept, 1 / 255), added, added)
    if not only_above and mask is None:
        part[:] = blended
        return
    shown = _stretch(level, box, canvas.shape) > 1 if only_above else np.ones(part.shape[:2], np.bool_)
    if mask is not None:
        shown &= ~mask[y : y + height, x : x + width]
    cv2.copyTo(blended, shown.view(np.uint8), part)


def _reach(cells: NDArray[np.uint8], frame: tuple[int, ...]) -> Roi | None:
    """The rectangle of the frame that the set cells reach by interpolation; the whole frame when that is most of it."""
    x, y, width, height = (int(value) for value in cv2.boundingRect(cells))
    if not width:
        return None
    across, down = frame[1] / cells.shape[1], frame[0] / cells.shape[0]
    x0, x1 = max(0, int((x - 1) * across)), min(frame[1], int((x + width + 1) * across) + 1)
    y0, y1 = max(0, int((y - 1) * down)), min(frame[0], int((y + height + 1) * down) + 1)
    if (x1 - x0) * (y1 - y0) > frame[0] * frame[1] // 4:
        return 0, 0, frame[1], frame[0]
    return x0, y0, x1 - x0, y1 - y0


def _stretch(cells: NDArray[Any], box: Roi, frame: tuple[int, ...]) -> NDArray[Any]:
    """What ``cv2.resize`` to the frame's size gives within ``box``, without computing the rest."""
    x, y, width, height = box
    if (width, height) == (frame[1], frame[0]):
        return cv2.resize(cells, (width, height))
    across, down = cells.shape[1] / frame[1], cells.shape[0] / frame[0]
    back = np.array([[across, 0, (x + 0.5) * across - 0.5], [0, down, (y + 0.5) * down - 0.5]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(cells, back, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _line(canvas: Image) -> int:
    return max(1, int(min(canvas.shape[:2])) // 240)


def _draw_contours(picture: Image, result: InspectionResult, times: int) -> None:
    # The frame-sized map is not made for a good part, which has no contours.
    if result.model_map is None or not float(result.model_map.max()) > result.thresholds.pixel:
        return
    # Through the middles of the squares that pixels have become.
    contours = [region.contour.reshape(-1, 1, 2) * times + times // 2 for region in result.regions]
    # White on a dark rim is seen on any part and on any colour of the heatmap.
    cv2.drawContours(picture, contours, -1, (0, 0, 0), _line(picture) + 2, cv2.LINE_AA)
    cv2.drawContours(picture, contours, -1, WHITE, _line(picture), cv2.LINE_AA)


def _draw_outlines(picture: Image, result: InspectionResult, times: int) -> None:
    """The ignored places and the region of interest, thin."""
    line = _line(picture)
    height, width = picture.shape[:2]
    if result.ignore is not None:
        corners = [np.array(polygon) * (width, height) for polygon in result.ignore.polygons]
        cv2.polylines(picture, [np.round(points).astype(np.int32) for points in corners], True, _IGNORED, line)
    x, y, roi_width, roi_height = (times * side for side in result.roi)
    if (roi_width, roi_height) != (width, height) and min(roi_width, roi_height) > 0:
        cv2.rectangle(picture, (x, y), (x + roi_width - 1, y + roi_height - 1), WHITE, line)
