"""Verdict, score bar and counters, each in a strip of its own; OpenCV only."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

import cv2

from ..bundle.manifest import Labels
from ..images.preprocess import Image
from ..inspection.result import InspectionResult
from ..monitoring.status import Snapshot
from ..verdict import Verdict

__all__ = ["VERDICT_COLORS", "draw_hud", "draw_notice", "draw_verdict"]

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
_LINE = 1.7
"""From line to line, in heights of a capital."""


def draw_verdict(strip: Image, result: InspectionResult) -> None:
    """Fill a strip with the verdict: the word, then score and bar, or the reason.

    The word has its colour behind it. A label that the bundle does not have by default stands above the score, where it
    takes nothing from the word's size.
    """
    height, width = int(strip.shape[0]), int(strip.shape[1])
    margin = height // 5
    scale = _fit([str(result.verdict)], height * 0.55, width * 0.4)
    tag = min(width, 2 * margin + _width(str(result.verdict), scale, bold=True))
    strip[:, :tag] = VERDICT_COLORS[result.verdict]
    _write(strip, str(result.verdict), margin, height / 2, scale, bold=True)
    left = tag + margin
    # A part can be NG by its other frames when this one could not be scored.
    if result.verdict is Verdict.ERROR or not math.isfinite(result.pred_score):
        _write_lines(strip, result.reason, left)
        return
    text = f"{result.pred_score:.2f}  limit {result.thresholds.image:.2f}  {result.timings.total_ms:.1f} ms"
    has_bar = width - left > 6 * height
    scale = _fit([text], height * 0.26, (width - left - margin) * (0.55 if has_bar else 1))
    label = _label(result)
    _write(strip, text, left, height * (0.7 if label or not has_bar else 0.5), scale)
    if label:
        _write(strip, label, left, height * 0.3, _fit([label], height * 0.24, _width(text, scale)))
    if has_bar:
        left += _width(text, scale) + margin
        _draw_bar(strip, result, (left, height // 3, width - margin - left, height - 2 * (height // 3)))
    elif not label:
        _draw_bar(strip, result, (left, height // 4, width - margin - left, height // 5))


def draw_hud(strip: Image, now: Snapshot) -> None:
    """Fill a strip with counters and speed; in two lines where one would be too small."""
    counts = "   ".join(f"{verdict} {count}" for verdict, count in now.counts.items())
    counts += f"   dropped {now.dropped}"
    speed = f"{now.fps:.1f} fps"
    if now.p50_ms is not None and now.p95_ms is not None:
        speed += f"   p50 {now.p50_ms:.0f}   p95 {now.p95_ms:.0f} ms"
    if now.source != "running":
        speed = f"source {now.source}   {speed}"
    height, width = int(strip.shape[0]), int(strip.shape[1])
    margin = height // 4
    room = width - 2 * margin
    one = _width(f"{counts}   {speed}", _fit(["H"], height * 0.42, room)) < room
    rows = [[counts, speed]] if one else [[counts], [speed]]
    line = height / len(rows)
    scale = _fit([counts, speed], line * 0.45, room)
    for number, row in enumerate(rows):
        middle = line * (number + 0.5)
        _write(strip, row[0], margin, middle, scale)
        if len(row) > 1:
            _write(strip, row[1], width - margin - _width(row[1], scale), middle, scale)


def draw_notice(canvas: Image, text: str) -> None:
    """Say something to the person at the keyboard, in a strip in the lower third."""
    height, width = int(canvas.shape[0]), int(canvas.shape[1])
    strip = min(max(18, height // 14), max(6, height // 4))
    top = height * 4 // 5 - strip
    _shade(canvas[top : top + strip])
    scale = _fit([text], strip * 0.42, width * 0.9)
    _write(canvas, text, (width - _width(text, scale)) / 2, top + strip / 2, scale)


def draw_table(canvas: Image, rows: Sequence[tuple[str, str]]) -> None:
    """Say in two columns what there is, over the middle of a picture."""
    height, width = int(canvas.shape[0]), int(canvas.shape[1])
    line = min(height * 0.8 / (len(rows) + 1), width / 18)
    columns = list(zip(*rows, strict=True))
    scale = _fit(["H"], line * 0.42, width)
    widths = [max(_width(text, scale) for text in column) for column in columns]
    scale *= min(1.0, width * 0.86 / (sum(widths) + 2 * line))
    widths = [max(_width(text, scale) for text in column) for column in columns]
    left, top = (width - sum(widths) - 2 * line) / 2, (height - line * (len(rows) + 1)) / 2
    _shade(canvas[max(0, round(top)) : round(height - top), max(0, round(left)) : round(width - left)])
    for number, (name, meaning) in enumerate(rows, 1):
        _write(canvas, name, left + line / 2, top + line * number, scale)
        _write(canvas, meaning, left + line * 1.5 + widths[0], top + line * number, scale)


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


def _write_lines(strip: Image, text: str, left: int) -> None:
    """In as few lines as large letters need, down to letters of a tenth of the strip's height."""
    height = int(strip.shape[0])
    room = max(1, int(strip.shape[1]) - left - height // 10)
    letter = height * 0.26
    lines = _wrap(text, letter / _CAPITAL, room)
    while len(lines) * _LINE * letter > height and letter > height * 0.1:
        letter *= 0.93
        lines = _wrap(text, letter / _CAPITAL, room)
    step = min(_LINE * letter, height / len(lines))
    first = (height - step * (len(lines) - 1)) / 2
    for number, line in enumerate(lines):
        shrunk = min(1.0, room / max(1, _width(line, letter / _CAPITAL)))
        _write(strip, line, left, first + step * number, letter / _CAPITAL * shrunk)


def _wrap(text: str, scale: float, room: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and _width(longer, scale) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _shade(part: Image) -> None:
    part[:] = cv2.convertScaleAbs(part, alpha=_SHADE)


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
