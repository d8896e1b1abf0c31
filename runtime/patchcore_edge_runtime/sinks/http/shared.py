"""One web server for all lines of a process."""

from __future__ import annotations

from collections.abc import Sequence

from ..base import SinkContext
from .server import WebServer, require_extra
from .settings import HttpSettings
from .shared_pages import LinePage, SharedPages, State

__all__ = ["SharedServer", "State"]


class SharedServer:
    """The web server of several lines.

    Args:
        settings: where to listen, and for how many.
        names: of the lines.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.

    Raises:
        ConfigError: the extra is not installed, the token is none, or the address cannot be listened on.
    """

    def __init__(self, settings: HttpSettings, names: Sequence[str]) -> None:
        require_extra()
        from .routes import build_shared_app

        self._pages = SharedPages(settings, names)
        self._server = WebServer(build_shared_app(settings, self._pages, settings.token()), settings)
        self.port = self._server.port

    def page_of(self, name: str, context: SinkContext) -> LinePage:
        """What the line of that name hands its records to."""
        return self._pages.page_of(name, context)

    def say(self, name: str, state: State, reason: str = "") -> None:
        """How a line is: what it cannot say itself, while it is not open."""
        self._pages.say(name, state, reason)

    def close(self) -> None:
        """Stop listening."""
        self._server.close()
