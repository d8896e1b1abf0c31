"""What a camera or stream is asked for, and how long it is waited for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from ..validation import Seconds, Settings

__all__ = ["CAMERA_KEYS", "HTTP_KEYS", "LOGIN_KEYS", "LiveSettings", "Rotation"]

Rotation = Literal[0, 90, 180, 270]

CAMERA_KEYS = frozenset({"width", "height", "fps", "fourcc", "exposure", "gain", "backend"})
"""What only the driver of a camera at this PC can be asked for."""
LOGIN_KEYS = frozenset({"username", "password_env"})
HTTP_KEYS = frozenset({"interval", "ca_file", "fingerprint"})


class LiveSettings(Settings):
    """What a live source is asked for, and the seconds that it is waited for.

    Attributes:
        open_timeout: for a connection to be opened.
        read_timeout: for a frame; then the source counts as lost.
        max_backoff: the longest pause between two attempts; they start at a quarter of a second and double.
        wait: be content with a source that is not there at the start, and go on trying.
        max_repeats: pictures in a row that may be the very same one, down to their noise, before each further one is an
            ERROR; any number when 0, as for a test picture.
        rotate: degrees clockwise that every picture is turned by.
        width, height: pixels, before turning.
        fps: frames per second.
        fourcc: the pixel format's four characters, such as ``MJPG``.
        exposure: a number in the driver's unit (V4L2: 100 µs; DirectShow: log2 of seconds), or ``auto``.
        gain: in the driver's unit.
        backend: the system's interface that OpenCV opens the camera by; its own choice unless told.
        username, password_env: for a camera that asks; the password lies in the environment variable of that name.
        interval: seconds from one GET to the next, of a URL that gives one picture; 1 unless told.
        ca_file: PEM file of the authority that signed an HTTPS camera's certificate, or the certificate itself.
        fingerprint: SHA-256 of an HTTPS camera's certificate, 64 hexadecimal digits; nothing else of it is checked.
    """

    signed: ClassVar[frozenset[str]] = frozenset({"exposure", "gain"})

    open_timeout: Seconds = 10.0
    read_timeout: Seconds = 5.0
    max_backoff: Seconds = 5.0
    wait: bool = False
    max_repeats: NonNegativeInt = 30
    rotate: Rotation = 0
    width: PositiveInt | None = Field(default=None, le=65_535)
    height: PositiveInt | None = Field(default=None, le=65_535)
    fps: float | None = Field(default=None, gt=0, le=10_000)
    fourcc: str | None = None
    exposure: FiniteFloat | Literal["auto"] | None = None
    gain: FiniteFloat | None = None
    backend: Literal["v4l2", "dshow", "msmf", "avfoundation", "gstreamer"] | None = None
    username: str | None = None
    password_env: str | None = None
    interval: Seconds | None = None
    ca_file: Path | None = None
    fingerprint: str | None = None

    @field_validator("rotate", mode="before")
    @classmethod
    def _degrees(cls, value: object) -> object:
        # The environment has text.
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("fourcc")
    @classmethod
    def _four_characters(cls, text: str | None) -> str | None:
        if text is None:
            return None
        if not (1 <= len(text) <= 4 and text.isascii() and text.isprintable()):
            raise ValueError("a pixel format is four characters, such as MJPG or YUYV")
        return text.ljust(4)

    @field_validator("fingerprint")
    @classmethod
    def _plain_digits(cls, text: str | None) -> str | None:
        if text is None:
            return None
        digits = re.sub(r"[\s:]", "", text.lower().removeprefix("sha256:").removeprefix("sha256 fingerprint="))
        if not re.fullmatch(r"[0-9a-f]{64}", digits):
            raise ValueError("a fingerprint is the SHA-256 of the certificate: 64 hexadecimal digits, colons or not")
        return digits

    @model_validator(mode="after")
    def _go_together(self) -> LiveSettings:
        if self.password_env is not None and self.username is None:
            raise ValueError("password_env goes with username; give both")
        if self.ca_file is not None and self.fingerprint is not None:
            raise ValueError("ca_file and fingerprint exclude each other; give one")
        return self
