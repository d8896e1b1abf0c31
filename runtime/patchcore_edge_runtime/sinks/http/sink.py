"""The line over HTTP (extra ``http``): health, metrics, live view, status page, results and the software trigger."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ...errors import ConfigError
from ...images.files import encode_image
from ...images.preprocess import Image
from ..base import Record, SinkContext, SinkSettings, missing_extra, token

__all__ = ["HttpSettings", "HttpSink", "LiveView"]

_CLOSE_SECONDS = 5.0


class HttpSettings(SinkSettings):
    """``[sinks.http]``: where to listen, and for how many.

    Attributes:
        host: an address of this machine; other machines reach it only when it is not a loopback address.
        token_env: environment variable with the token that clients must show; needed when not on loopback.
        results: newest results to keep for GET /results.
        stale_seconds: silence after which /healthz says that the line stands still; a triggered line may be silent.
        live_fps, live_width: upper limits of the live view, in frames per second and pixels.
        viewers: live views at a time.
        trigger_timeout: seconds that POST /trigger waits for its verdict.
    """

    host: str = "127.0.0.1"
    port: NonNegativeInt = Field(default=8080, le=65535)
    token_env: str | None = None
    results: PositiveInt = Field(default=1000, le=100_000)
    stale_seconds: PositiveFloat = 30.0
    live_fps: PositiveFloat = 10.0
    live_width: PositiveInt = 1280
    viewers: PositiveInt = 8
    trigger_timeout: PositiveFloat = 10.0

    @model_validator(mode="after")
    def _check(self) -> HttpSettings:
        if self.token_env is None and not self.is_loopback:
            raise ValueError(f"host {self.host} is open to other machines and needs token_env")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass
class LiveView:
    """What the sink's thread hands to the server's thread: the newest record and the facts of those before."""

    keep: int
    width: int
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _record: Record | None = None
    _jpeg: tuple[int, bytes] = (0, b"")
    number: int = 0

    def __post_init__(self) -> None:
        self._facts: deque[dict[str, object]] = deque(maxlen=self.keep)

    def add(self, record: Record) -> None:
        """Take one record."""
        facts = record.to_dict()
        with self._lock:
            self._record = record
            self._facts.appendleft(facts)
            self.number += 1

    def results(self) -> list[dict[str, object]]:
        """The facts kept, the newest first."""
        with self._lock:
            return list(self._facts)

    def jpeg(self) -> tuple[int, bytes]:
        """The newest annotated picture and its number, encoded once for all viewers; a grey field before the first."""
        with self._lock:
            record, number, known = self._record, self.number, self._jpeg
        if known[0] == number and known[1]:
            return known
        picture = np.full((480, 640, 3), 64, np.uint8) if record is None else record.overlay
        fresh = (number, encode_image(self._fit(picture), ".jpg"))
        with self._lock:
            self._jpeg = max(self._jpeg, fresh)
        return fresh

    def _fit(self, picture: Image) -> Image:
        height, width = picture.shape[:2]
        if width <= self.width:
            return picture
        size = (self.width, max(1, round(height * self.width / width)))
        return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


class HttpSink:
    """A small web server in a thread of its own.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.
    """

    Settings: ClassVar[type[SinkSettings]] = HttpSettings
    pictures: ClassVar[bool] = True

    def __init__(self, settings: HttpSettings, context: SinkContext) -> None:
        try:
            import starlette  # noqa: F401
            import uvicorn
        except ImportError:
            raise missing_extra("http") from None
        from .routes import build_app

        self._view = LiveView(settings.results, settings.live_width)
        app = build_app(settings, context, self._view, token(settings.token_env))
        listener = _listen(settings.host, settings.port)
        self.port = int(listener.getsockname()[1])
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            # A live view never ends by itself.
            timeout_graceful_shutdown=1,
            limit_concurrency=64,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()

    @classmethod
    def from_settings(cls, settings: HttpSettings, context: SinkContext) -> HttpSink:
        """Listen where the settings say."""
        return cls(settings, context)

    def write(self, record: Record) -> None:
        """Show one record."""
        self._view.add(record)

    def close(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another port.") from None
