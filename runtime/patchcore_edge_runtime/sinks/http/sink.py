"""The web server of a line: status page, live view, metrics, results and the software trigger (extra ``http``)."""

from __future__ import annotations

import errno
import threading
from typing import ClassVar

from ...display.record import Record
from ...errors import ConfigError
from ..base import SinkContext, SinkSettings, missing_extra
from .connections import bounded_protocol, descriptor_limit, listen, places_for
from .live_view import LiveView
from .settings import HttpSettings

__all__ = ["HttpSink"]

_CLOSE_SECONDS = 5.0


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
        app = build_app(settings, context, self._view, settings.token())
        limit = descriptor_limit()
        listener = listen(settings.host, settings.port, limit)
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
            http=bounded_protocol(places_for(limit)),
            # How many are accepted in one go, before the first of them is looked at.
            backlog=8,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="http", daemon=True)
        self._thread.start()

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
        self._server.should_exit = True
        self._thread.join(_CLOSE_SECONDS)
