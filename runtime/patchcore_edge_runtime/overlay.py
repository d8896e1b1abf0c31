"""The picture a person sees: heatmap, contours, banner; OpenCV only."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .preprocess import Image, as_bgr8
from .result import InspectionResult
from .verdict import Verdict

__all__ = ["VERDICT_COLORS", "draw_overlay", "heatmap"]

VERDICT_COLORS: dict[Verdict, tuple[int, int, int]] = {
    Verdict.OK: (60, 150, 20),
    Verdict.WARN: (0, 160, 240),
    Verdict.NG: (40, 30, 210),
    Verdict.ERROR: (150, 30, 120),
}
"""BGR. Each also says its verdict in words: colour alone does not tell one in twelve men red from green."""

_WHITE = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_DUPLEX


def heatmap(image: Image, anomaly_map: NDArray[np.float32], pixel_threshold: float, opacity: float = 0.6) -> Image:
    """Blend a raw map into an image of the same size.

    Colours run over [0, 2 x threshold], the threshold in the middle of the scale; pixels below half the
    threshold stay as they are, so that a good part looks like itself.

    Args:
        image: HxWx3 uint8 BGR.
        anomaly_map: HxW float32 raw scores.
        pixel_threshold: raw score above which a pixel is anomalous.
        opacity: share of the heatmap where the map is at the threshold or above, in [0, 1].
    """
    level = np.clip(anomaly_map / (2 * pixel_threshold), 0, 1)
    colors = cv2.applyColorMap((level * 255).astype(np.uint8), cv2.COLORMAP_TURBO).astype(np.float32)
    share = (opacity * np.clip(4 * level - 1, 0, 1))[..., None]
    return np.asarray(image * (1 - share) + colors * share).astype(np.uint8)


def draw_overlay(frame: NDArray[Any], result: InspectionResult, *, opacity: float = 0.6) -> Image:
    """Draw a result on the frame it belongs to.

    Args:
        frame: the inspected frame, as ``Inspector`` takes it.
        result: what the inspector returned for it.
        opacity: of the heatmap, in [0, 1].

    Returns:
        HxWx3 uint8 BGR of the frame's size; the frame itself is left alone.
    """
    canvas = as_bgr8(frame).copy()
    if result.model_map is not None:
        x, y, width, height = result.seen_box
        box = (slice(y, y + height), slice(x, x + width))
        canvas[box] = heatmap(canvas[box], result.anomaly_map[box], result.thresholds.pixel, opacity)
        _draw_contours(canvas, result)
    if result.roi[2:] != (canvas.shape[1], canvas.shape[0]) and min(result.roi[2:]) > 0:
        x, y, width, height = result.roi
        cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), VERDICT_COLORS[result.verdict], _line(canvas))
    _draw_banner(canvas, result)
    return canvas


def _line(canvas: Image) -> int:
    return max(1, int(min(canvas.shape[:2])) // 240)


def _draw_contours(canvas: Image, result: InspectionResult) -> None:
    mask = result.pred_mask.astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    # White on a dark rim is seen on any part and on any colour of the heatmap.
    cv2.drawContours(canvas, contours, -1, (0, 0, 0), _line(canvas) + 2, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, _WHITE, _line(canvas), cv2.LINE_AA)


def _draw_banner(canvas: Image, result: InspectionResult) -> None:
    height = max(24, canvas.shape[0] // 9)
    cv2.rectangle(canvas, (0, 0), (canvas.shape[1], height), VERDICT_COLORS[result.verdict], cv2.FILLED)
    margin = height // 5
    end = _put_text(canvas, str(result.verdict), margin, height, 0.62)
    if result.verdict is Verdict.ERROR:
        detail = result.reason
    else:
        detail = f"score {result.pred_score:.2f}  limit {result.thresholds.image:.2f}  {result.timings.total_ms:.1f} ms"
    _put_text(canvas, detail, end + 2 * margin, height, 0.32)


def _put_text(canvas: Image, text: str, x: int, height: int, share: float) -> int:
    """Write ``text`` at ``x``, centred in a bar of ``height``, shrunk to fit the canvas; returns where it ends."""
    # Hershey fonts know ASCII only and draw a question mark for the rest.
    text = text.encode("ascii", "replace").decode()
    scale = share * height / cv2.getTextSize("H", _FONT, 1, 1)[0][1]
    room = canvas.shape[1] - x - 2
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    if width > room > 0:
        scale *= room / width
    thickness = max(1, round(scale * 1.4))
    (width, text_height), _ = cv2.getTextSize(text, _FONT, scale, thickness)
    cv2.putText(canvas, text, (x, (height + text_height) // 2), _FONT, scale, _WHITE, thickness, cv2.LINE_AA)
    return int(x + width)
