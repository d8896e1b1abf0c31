"""The web server of a line: status page, live view, metrics, results and the software trigger (extra ``http``)."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ...display.record import Record
from ...errors import ConfigError
from ...monitoring.trouble import Trouble
from ..base import SinkContext, SinkSettings
from .connections import listen
from .live_view import LiveView
from .server import WebServer, require_extra
from .settings import HttpSettings

__all__ = ["HttpSink"]


class HttpSink:
    """Shows the line in a web server of its own.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.
    """

    Settings: ClassVar[type[SinkSettings]] = HttpSettings
    pictures: ClassVar[bool] = True

    def __init__(self, settings: HttpSettings, context: SinkContext) -> None:
        require_extra()
        from .routes import build_app

        self._view = LiveView(settings.results, settings.live_width)
        self._server = WebServer(build_app(settings, context, self._view, settings.token()), settings)
        self.port = self._server.port

    @property
    def trouble(self) -> Trouble:
        """Why the server does not answer now."""
        return self._server.trouble

    @classmethod
    def from_settings(cls, settings: HttpSettings, context: SinkContext) -> HttpSink:
        """Listen where the settings say."""
        return cls(settings, context)

    @classmethod
    def check(cls, settings: HttpSettings, _: Mapping[str, Path]) -> list[str]:
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
        self._server.close()
