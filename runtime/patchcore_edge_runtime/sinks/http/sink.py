"""The web server of a line: status page, live view, metrics, results and the software trigger (extra ``http``)."""

from __future__ import annotations

import socket
from typing import ClassVar

from ...display.record import Record
from ...errors import ConfigError
from ...threads import keep_running
from ..base import SinkContext, SinkSettings, missing_extra, token
from .live_view import LiveView
from .settings import HttpSettings

__all__ = ["HttpSink"]

_CLOSE_SECONDS = 5.0


class HttpSink:
    """A small web server in a thread of its own.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.
        last_error: why it does not answer now; empty while it does.
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
        self._host, self._listener = settings.host, _listen(settings.host, settings.port)
        self.port = int(self._listener.getsockname()[1])
        self.last_error = ""
        self._closing = False
        self._config = uvicorn.Config(
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
        self._server = uvicorn.Server(self._config)
        self._thread = keep_running("http", self._serve, ended=lambda: self._closing, failed=self._say)

    @classmethod
    def from_settings(cls, settings: HttpSettings, context: SinkContext) -> HttpSink:
        """Listen where the settings say."""
        return cls(settings, context)

    def write(self, record: Record) -> None:
        """Show one record."""
        self._view.add(record)

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)

    def _serve(self) -> None:
        import uvicorn

        if self._listener.fileno() < 0:  # a server that ended has closed it
            self._listener = _listen(self._host, self.port)
            self._server = uvicorn.Server(self._config)
            self._server.should_exit = self._closing
        self.last_error = ""
        try:
            self._server.run([self._listener])
        finally:
            self._listener.close()

    def _say(self, reason: str) -> None:
        self.last_error = reason


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another port.") from None
