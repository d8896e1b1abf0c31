"""The screen that a window opens on: whether there is one, and how large."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import sys
from contextlib import suppress
from pathlib import Path

import cv2

from ..errors import ConfigError

__all__ = ["connect_to_screen", "require_screen", "room_on_screen"]

_SYSTEM_FONTS = Path("/usr/share/fonts")
_FIRST_WINDOW = "opening"
_FIRST_WINDOW_MS = 50
_USUAL = (1366, 768)
"""Of a small notebook: what is taken where a screen does not say its size."""
_ROOM = (0.96, 0.86)
"""Share of its width and height that a window may take: title and task bar need the rest."""
_WIDEST = 2.4
"""Width by height: beyond, it is several screens side by side."""


def require_screen() -> None:
    """Raise ``ConfigError`` where there is no screen, or this OpenCV has no windows."""
    # OpenCV's Qt ends the process when there is no display, so look first.
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise ConfigError("There is no screen to show a window on (DISPLAY is not set); leave --show away.")
    # The wheel's Qt complains once a window about a folder of fonts that it does not bring; it draws no text here.
    if not Path(os.environ.get("QT_QPA_FONTDIR", "")).is_dir() and _SYSTEM_FONTS.is_dir():
        os.environ["QT_QPA_FONTDIR"] = str(_SYSTEM_FONTS)
    try:
        cv2.waitKey(1)
    except cv2.error:
        raise ConfigError("This OpenCV has no windows; install opencv-python in place of the headless one.") from None


def connect_to_screen() -> None:
    """Have the library connect to the screen, before the window that matters is opened.

    Qt may lose the events of the moment in which it connects, and a window is never drawn when the news that it is on
    the screen is among them: of 30 starts on a busy machine without a window manager 10 stayed black, and none with
    this. From the second window on there is no such moment.
    """
    if not str(getattr(cv2, "currentUIFramework", str)()).upper().startswith("QT"):
        return
    cv2.namedWindow(_FIRST_WINDOW, cv2.WINDOW_NORMAL | cv2.WINDOW_GUI_NORMAL)
    cv2.waitKey(_FIRST_WINDOW_MS)
    cv2.destroyWindow(_FIRST_WINDOW)


def room_on_screen() -> tuple[int, int]:
    """Width and height in pixels that a window may take."""
    width, height = _screen_size() or _USUAL
    if width > _WIDEST * height:
        width = height * 16 // 9
    return round(width * _ROOM[0]), round(height * _ROOM[1])


def _screen_size() -> tuple[int, int] | None:
    """In pixels; None where nobody says."""
    with suppress(OSError, AttributeError):
        if sys.platform == "win32":
            metrics = ctypes.windll.user32.GetSystemMetrics
            return metrics(0), metrics(1)
        if os.environ.get("DISPLAY") and (name := ctypes.util.find_library("X11")):
            return _x11_size(ctypes.CDLL(name))
    return None


def _x11_size(library: ctypes.CDLL) -> tuple[int, int] | None:
    library.XOpenDisplay.restype = ctypes.c_void_p
    display = ctypes.c_void_p(library.XOpenDisplay(None))
    if not display:
        return None
    try:
        screen = library.XDefaultScreen(display)
        return library.XDisplayWidth(display, screen), library.XDisplayHeight(display, screen)
    finally:
        library.XCloseDisplay(display)
