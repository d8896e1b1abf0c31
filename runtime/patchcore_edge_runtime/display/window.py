"""The window on the line PC's screen and its keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import ConfigError
from ..images.files import write_image
from ..images.preprocess import Image
from ..monitoring.status import LineStatus
from ..verdict import Thresholds
from .overlay import draw_overlay
from .panel import draw_notice, draw_table
from .record import Record
from .screen import connect_to_screen, require_screen, room_on_screen

__all__ = ["KEYS", "HasThresholds", "Window"]

KEYS = {
    "q, Esc": "end",
    "space": "freeze a live picture, hold files; again to go on",
    "s": "save the picture and the raw frame",
    "+, -": "raise or lower the thresholds by 2 %",
    "m": "heatmap: on, above the threshold only, off",
    "f": "fullscreen on and off",
    "h": "these keys; shown at the start too",
}

_STEP = 1.02
_NOTICE_SECONDS = 2.5
_HELP_SECONDS = 8.0
_REFRESH_MS = 30
_SETTLED_SECONDS = 1.0
"""That a window takes to become as large as it was asked to be."""
_GIVEN = 8
"""Pixels by which screens give windows another size than was asked for."""
_HEATMAPS = ("heatmap on", "heatmap above the threshold only", "heatmap off")


class HasThresholds(Protocol):
    """What the + and - keys turn; an ``Inspector`` is one."""

    thresholds: Thresholds


class Window:
    """Shows the newest record; call it with each, and it returns False when the person wants to end.

    Screens belong to the main thread, which calls ``pump``; the line runs in another one, so that keys are heard while
    it waits for a frame, and drawing delays no verdict.

    Args:
        inspector: whose thresholds the keys change; may be set anew after a hot swap, whose thresholds then count.
        status: of the line, for the counters.
        live: the source goes on by itself: space freezes the picture and not the inspection.
        folder: where s saves to.
        title: of the window.

    Raises:
        ConfigError: there is no screen, or this OpenCV has no windows.
    """

    def __init__(
        self,
        inspector: HasThresholds,
        status: LineStatus,
        *,
        live: bool = True,
        folder: Path | None = None,
        title: str = "patchcore-edge",
    ) -> None:
        require_screen()
        self.inspector = inspector
        self._status, self._live, self._title = status, live, title
        self._folder = folder or Path()
        self._heatmap = 0
        self._paused = self._ended = self._full = False
        self._notice, self._notice_until = "", 0.0
        self._help_until = time.monotonic() + _HELP_SECONDS
        self._opened = False
        # The shape of what is shown, the window's size that was asked for it, and when.
        self._shape, self._asked, self._asked_at = (0, 0), (0, 0), 0.0
        self._record: Record | None = None
        self._changed = threading.Condition()
        self._actions: dict[str, Callable[[], None]] = {
            "q": self.stop,
            "\x1b": self.stop,
            " ": self._pause,
            "s": self._save,
            "+": lambda: self._scale(_STEP),
            # The same key without shift on most keyboards.
            "=": lambda: self._scale(_STEP),
            "-": lambda: self._scale(1 / _STEP),
            "m": self._next_heatmap,
            "h": self._help,
            "f": self._fullscreen,
        }

    def __call__(self, record: Record) -> bool:
        """Hand over a record to show, from the line's thread; waits only while files are held."""
        with self._changed:
            if not self._paused:
                self._record = record
            self._changed.wait_for(lambda: self._live or self._ended or not self._paused)
            return not self._ended

    def pump(self) -> bool:
        """Show the newest record and take keys, from the main thread, again and again; False when it is to end."""
        self._show()
        self._take_keys()
        return not self._ended

    def close(self) -> None:
        """Close the window."""
        if self._opened:
            self._opened = False
            cv2.destroyWindow(self._title)

    def press(self, key: str) -> None:
        """Do what a key does; keys that do nothing are ignored."""
        action = self._actions.get(key.lower())
        if action is not None:
            action()

    @property
    def heatmap(self) -> str:
        """What is shown of the map: ``heatmap on``, ``heatmap above the threshold only`` or ``heatmap off``."""
        return _HEATMAPS[self._heatmap]

    @property
    def fullscreen(self) -> bool:
        """Whether the window fills the screen."""
        return self._full

    def picture(self, record: Record) -> Image:
        """What the window shows for a record."""
        opacity = 0.0 if self._heatmap == 2 else 0.6
        now = self._status.snapshot()
        picture = draw_overlay(record.picture(), record.result, opacity=opacity, only_above=self._heatmap == 1, hud=now)
        notice = self._notice if time.monotonic() < self._notice_until else ""
        if self._paused:
            notice = "FROZEN PICTURE, the inspection goes on" if self._live else "PAUSED, space to go on"
        if notice:
            draw_notice(picture, notice)
        return self._with_help(picture)

    def _with_help(self, picture: Image) -> Image:
        if time.monotonic() < self._help_until:
            draw_table(picture, list(KEYS.items()))
        return picture

    def _show(self) -> None:
        record = self._record
        picture = self._with_help(_waiting()) if record is None else self.picture(record)
        if not self._opened:
            self._opened = True
            connect_to_screen()
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL | cv2.WINDOW_FREERATIO | cv2.WINDOW_GUI_NORMAL)
        self._follow(picture)
        cv2.imshow(self._title, _fitted(picture, self._size()))

    def _follow(self, picture: Image) -> None:
        """Give the window the shape of what it shows, unless a person has given it another size."""
        shape = int(picture.shape[1]), int(picture.shape[0])
        settled = time.monotonic() - self._asked_at > _SETTLED_SECONDS
        off = max(abs(has - asked) for has, asked in zip(self._size(), self._asked, strict=True))
        by_hand = any(self._asked) and settled and off > _GIVEN
        if shape == self._shape or self._full or by_hand:
            return
        room = room_on_screen()
        share = min(1.0, room[0] / shape[0], room[1] / shape[1])
        self._shape, self._asked_at = shape, time.monotonic()
        self._asked = max(1, round(shape[0] * share)), max(1, round(shape[1] * share))
        cv2.resizeWindow(self._title, *self._asked)

    def _size(self) -> tuple[int, int]:
        """Width and height of the window's picture; zeros while it has none."""
        _, _, width, height = cv2.getWindowImageRect(self._title)
        return max(0, int(width)), max(0, int(height))

    def _take_keys(self) -> None:
        wait_ms = _REFRESH_MS
        while (code := cv2.waitKey(wait_ms)) != -1:
            self.press(chr(code & 0xFF))
            wait_ms = 1
        if self._opened and cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
            # Closed with the mouse.
            self._opened = False
            self.stop()

    def stop(self) -> None:
        """End, from a signal handler too."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _pause(self) -> None:
        with self._changed:
            self._paused = not self._paused
            self._changed.notify_all()

    def _scale(self, factor: float) -> None:
        self.inspector.thresholds = self.inspector.thresholds.scaled(factor)
        self._say(f"limit {self.inspector.thresholds.image:.3f} from the next frame on")

    def _help(self) -> None:
        shown = time.monotonic() < self._help_until
        self._help_until = 0.0 if shown else time.monotonic() + _HELP_SECONDS

    def _next_heatmap(self) -> None:
        self._heatmap = (self._heatmap + 1) % len(_HEATMAPS)
        self._say(_HEATMAPS[self._heatmap])

    def _fullscreen(self) -> None:
        self._full = not self._full
        if self._opened:
            mode = cv2.WINDOW_FULLSCREEN if self._full else cv2.WINDOW_NORMAL
            cv2.setWindowProperty(self._title, cv2.WND_PROP_FULLSCREEN, mode)

    def _save(self) -> None:
        record = self._record
        if record is None:
            return
        stem = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}_{record.frame.index:06d}_{record.result.verdict}"
        try:
            write_image(self._folder / f"{stem}_overlay.png", self.picture(record))
            if record.frame.image is not None:
                write_image(self._folder / f"{stem}.png", record.frame.image)
        except ConfigError as error:
            self._say(str(error))
            return
        self._say(f"saved {stem}.png")

    def _say(self, text: str) -> None:
        self._notice, self._notice_until = text, time.monotonic() + _NOTICE_SECONDS


def _waiting() -> Image:
    canvas = np.full((480, 640, 3), 64, np.uint8)
    draw_notice(canvas, "Waiting for the first frame")
    return canvas


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """The picture in its own shape within a window of a size, on black; as it is where the window has no size yet.

    Windows stretch what they show: they are given what needs no stretching.
    """
    width, height = size
    if min(size) < 8 or (height, width) == picture.shape[:2]:
        return picture
    share = min(width / picture.shape[1], height / picture.shape[0])
    own = max(1, round(picture.shape[1] * share)), max(1, round(picture.shape[0] * share))
    shrinks = share < 1
    fitted = cv2.resize(picture, own, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - own[0]) // 2, (height - own[1]) // 2
    canvas[top : top + own[1], left : left + own[0]] = fitted
    return canvas
