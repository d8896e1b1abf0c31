"""Verdict, score bar and counters, drawn on a frame of any size; OpenCV only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Sequence

import cv2

from ..bundle.manifest import Labels
from ..images.preprocess import Image
from ..inspection.result import InspectionResult
from ..monitoring.status import Snapshot
from ..verdict import Verdict

__all__ = ["VERDICT_COLORS", "draw_hud", "draw_notice", "draw_verdict", "strip_height"]

VERDICT_COLORS: dict[Verdict, tuple[int, int, int]] = {
    Verdict.OK: (60, 150, 20),
    Verdict.WARN: (0, 140, 235),
    Verdict.NG: (40, 30, 210),
    Verdict.ERROR: (150, 30, 120),
}
"""BGR. Each also says its verdict in words: colour alone does not tell one in twelve men red from green."""

WHITE = (255, 255, 255)
_GREY = (170, 170, 170)
_TRACK = (70, 70, 70)
_FONT = cv2.FONT_HERSHEY_DUPLEX
# Height of its capitals at scale 1; what getTextSize says differs between OpenCV 4 and 5, the letters do not.
_CAPITAL = 21
# What stays of the picture under white text.
_SHADE = 0.3
_ERROR_LINES = 2


def strip_height(canvas: Image, verdict: Verdict) -> int:
    """Pixels of the verdict's strip: an eighth of the frame; an ERROR has a sentence to say and takes two.

    On a 24 inch screen, 30 cm high, its letters are 2 cm high: read from 4 m by the usual rule of distance / 200.
    """
    height = int(canvas.shape[0])
    one = min(max(28, height // 8), max(8, height // 3))
    return one * (2 if verdict is Verdict.ERROR else 1)


def draw_verdict(canvas: Image, result: InspectionResult, top: int) -> None:
    """Draw the verdict's strip with its upper edge at ``top``: the word, then score bar or reason.

    The word has its colour behind it; the rest of the strip is darkened only, so that the part still shows. A label
    that the bundle does not have by default stands above the score, where it takes nothing from the word's size.
    """
    height, width = strip_height(canvas, result.verdict), int(canvas.shape[1])
    color = VERDICT_COLORS[result.verdict]
    _shade(canvas, top, height)
    margin = height // 5 if result.verdict is not Verdict.ERROR else height // 10
    scale = _fit([str(result.verdict)], height * 0.55, width * 0.4)
    tag = min(width, 2 * margin + _width(str(result.verdict), scale, bold=True))
    cv2.rectangle(canvas, (0, top), (tag - 1, top + height - 1), color, cv2.FILLED)
    _write(canvas, str(result.verdict), margin, top + height / 2, scale, bold=True)
    left = tag + margin
    # A part can be NG by its other frames when this one could not be scored.
    if result.verdict is Verdict.ERROR or not math.isfinite(result.pred_score):
        _write_lines(canvas, result.reason, left, top, height)
        return
    text = f"{result.pred_score:.2f}  limit {result.thresholds.image:.2f}  {result.timings.total_ms:.1f} ms"
    scale = _fit([text], height * 0.24, (width - left) * 0.55)
    label = _label(result)
    _write(canvas, text, left, top + height * (0.7 if label else 0.5), scale)
    if label:
        _write(canvas, label, left, top + height * 0.3, _fit([label], height * 0.24, _width(text, scale)))
    left += _width(text, scale) + margin
    if width - margin - left > height:
        _draw_bar(canvas, result, (left, top + height // 3, width - margin - left, height - 2 * (height // 3)))


def draw_hud(canvas: Image, now: Snapshot, place: Callable[[int], int]) -> None:
    """Draw speed and counters in a strip of a twentieth of the frame; in two lines where one would be too small.

    Args:
        canvas: the frame; changed.
        now: the figures.
        place: given the strip's height, returns its upper edge.
    """
    counts = "   ".join(f"{verdict} {count}" for verdict, count in now.counts.items())
    counts += f"   dropped {now.dropped}"
    speed = f"{now.fps:.1f} fps"
    if now.p50_ms is not None and now.p95_ms is not None:
        speed += f"   p50 {now.p50_ms:.0f}   p95 {now.p95_ms:.0f} ms"
    if now.source != "running":
        speed = f"source {now.source}   {speed}"
    line, width = min(max(16, int(canvas.shape[0]) // 18), max(6, int(canvas.shape[0]) // 6)), int(canvas.shape[1])
    margin = line // 3
    letter = line * 0.42
    one = _width(f"{counts}   {speed}", _fit(["H"], letter, width)) < width - 2 * margin
    rows = [[counts, speed]] if one else [[counts], [speed]]
    top = place(line * len(rows))
    _shade(canvas, top, line * len(rows))
    scale = _fit([counts, speed], letter, width - 2 * margin)
    for number, row in enumerate(rows):
        middle = top + line * (number + 0.5)
        _write(canvas, row[0], margin, middle, scale)
        if len(row) > 1:
            _write(canvas, row[1], width - margin - _width(row[1], scale), middle, scale)


def draw_notice(canvas: Image, text: str) -> None:
    """Say something to the person at the keyboard, in a strip in the lower third."""
    height, width = int(canvas.shape[0]), int(canvas.shape[1])
    strip = min(max(18, height // 14), max(6, height // 4))
    top = height * 4 // 5 - strip
    _shade(canvas, top, strip)
    scale = _fit([text], strip * 0.42, width * 0.9)
    _write(canvas, text, (width - _width(text, scale)) / 2, top + strip / 2, scale)


def _label(result: InspectionResult) -> str:
    """The label to draw: not a default one, which says what the verdict says, nor one that has no letters here."""
    known = {*Labels().model_dump().values()}
    return "" if result.label in known or "?" in _ascii(result.label.replace("?", "")) else result.label


def _draw_bar(canvas: Image, result: InspectionResult, box: tuple[int, int, int, int]) -> None:
    """The score on a scale from 0 to twice the limit, so that the limit is always in the middle."""
    x, y, width, height = box
    cv2.rectangle(canvas, (x, y), (x + width - 1, y + height - 1), _TRACK, cv2.FILLED)
    filled = round(width * result.normalized_score)
    if filled > 0:
        color = VERDICT_COLORS[result.verdict]
        cv2.rectangle(canvas, (x, y), (x + filled - 1, y + height - 1), color, cv2.FILLED)
    reach, line = height // 3, max(1, height // 8)
    for limit, color in ((result.thresholds.warn, _GREY), (result.thresholds.image, WHITE)):
        if limit is not None:
            at = x + round(width * result.thresholds.normalize(limit))
            cv2.line(canvas, (at, y - reach), (at, y + height - 1 + reach), color, line)


def _write_lines(canvas: Image, text: str, left: int, top: int, height: int) -> None:
    room = max(1, int(canvas.shape[1]) - left - height // 10)
    scale = _fit(["H"], height * 0.15, room)
    lines = _wrap(text, scale, room)
    if len(lines) > _ERROR_LINES:
        scale *= _ERROR_LINES / len(lines)
        lines = _wrap(text, scale, room)
    step = min(_CAPITAL * scale * 2, height / len(lines))
    first = top + (height - step * (len(lines) - 1)) / 2
    for number, line in enumerate(lines):
        _write(canvas, line, left, first + step * number, scale * min(1.0, room / max(1, _width(line, scale))))


def _wrap(text: str, scale: float, room: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, scale) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _shade(canvas: Image, top: int, height: int) -> None:
    strip = canvas[top : top + height]
    strip[:] = cv2.convertScaleAbs(strip, alpha=_SHADE)


def _ascii(text: str) -> str:
    # OpenCV's fonts know ASCII only and draw a question mark for the rest; accents are better left out.
    bare = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return bare.encode("ascii", "replace").decode()


def _thickness(scale: float, *, bold: bool = False) -> int:
    return max(1, round(scale * (2.2 if bold else 1.4)))


def _width(text: str, scale: float, *, bold: bool = False) -> int:
    return int(cv2.getTextSize(_ascii(text), _FONT, scale, _thickness(scale, bold=bold))[0][0])


def _fit(texts: Sequence[str], letter: float, room: float) -> float:
    """The font scale at which letters are ``letter`` pixels high, or less where a text would be wider than ``room``."""
    scale = letter / _CAPITAL
    widest = max(_width(text, scale) for text in texts)
    return scale * room / widest if widest > room > 0 else scale


def _write(canvas: Image, text: str, x: float, middle: float, scale: float, *, bold: bool = False) -> None:
    thickness = _thickness(scale, bold=bold)
    place = (round(x), round(middle + _CAPITAL * scale / 2))
    cv2.putText(canvas, _ascii(text), place, _FONT, scale, WHITE, thickness, cv2.LINE_AA)
