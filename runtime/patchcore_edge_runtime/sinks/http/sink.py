"""The web server of a line: status page, live view, metrics, results and the software trigger (extra ``http``)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar

from ...display.record import Record
from ...errors import ConfigError
from ...monitoring.trouble import Trouble
from ...threads import keep_running
from ..base import SinkContext, SinkSettings, missing_extra
from .connections import bounded_protocol, descriptor_limit, listen, places_for
from .live_view import LiveView
from .settings import HttpSettings

if TYPE_CHECKING:
    from uvicorn import Server

__all__ = ["HttpSink"]

_CLOSE_SECONDS = 5.0


class HttpSink:
    """A small web server in a thread of its own.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.
        trouble: why it does not answer now.
    """

    Settings: ClassVar[type[SinkSettings]] = HttpSettings
    pictures: ClassVar[bool] = True

    def __init__(self, settings: HttpSettings, context: SinkContext) -> None:
        try:
            import starlette  # noqa: F401
            import uvicorn  # noqa: F401
        except ImportError:
            raise missing_extra("http") from None
        from .routes import build_app

        self._view = LiveView(settings.results, settings.live_width)
        self._app = build_app(settings, context, self._view, settings.token())
        self._limit = descriptor_limit()
        self._host, self._listener = settings.host, listen(settings.host, settings.port, self._limit)
        self.port = int(self._listener.getsockname()[1])
        self.trouble = Trouble()
        self._closing = False
        self._server = self._new_server()
        self._thread = keep_running("http", self._serve, ended=lambda: self._closing, failed=self.trouble.say)

    @classmethod
    def from_settings(cls, settings: HttpSettings, context: SinkContext) -> HttpSink:
        """Listen where the settings say."""
        return cls(settings, context)

    @classmethod
    def check(cls, settings: HttpSettings) -> list[str]:
        """What stands in the way of listening there; raises ``ConfigError`` unless it may be this very line."""
        settings.token()
        try:
            listen(settings.host, settings.port, None).close()
        except ConfigError as error:
            if getattr(error.__cause__, "errno", None) != errno.EADDRINUSE:
                raise
            return [f"{settings.host}:{settings.port} is listened on already; a second line there is refused."]
        return []

    def write(self, record: Record) -> None:
        """Show one record."""
        self._view.add(record)

    def close(self) -> None:
        """Stop listening."""
        self._closing = True
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)

    def _new_server(self) -> Server:
        """With places of its own: a server that ended gave none of its back."""
        from uvicorn import Config, Server

        config = Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            # A live view never ends by itself.
            timeout_graceful_shutdown=1,
            http=bounded_protocol(places_for(self._limit)),
            # How many are accepted in one go, before the first of them is looked at.
            backlog=8,
        )
        return Server(config)

    def _serve(self) -> None:
        if self._listener.fileno() < 0:  # a server that ended has closed it
            self._listener = listen(self._host, self.port, self._limit)
            self._server = self._new_server()
            self._server.should_exit = self._closing
        self.trouble.clear()
        try:
            self._server.run([self._listener])
        finally:
            self._listener.close()
