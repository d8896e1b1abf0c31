"""A small web server in a thread of its own, for one line or for all lines of a process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...monitoring.trouble import Trouble
from ...threads import keep_running
from ..base import missing_extra
from .connections import bounded_protocol, descriptor_limit, listen, places_for
from .settings import HttpSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp
    from uvicorn import Server

__all__ = ["WebServer", "require_extra"]

_CLOSE_SECONDS = 5.0


def require_extra() -> None:
    """Raise ``ConfigError`` where the extra is not installed."""
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise missing_extra("http") from None


class WebServer:
    """Serves an application until it is closed; it is begun again, at its address, when something ends it before.

    Args:
        app: ASGI application.
        settings: where to listen.

    Attributes:
        port: that it listens on, which matters when 0 was asked for.
        trouble: why it does not answer now.

    Raises:
        ConfigError: the address cannot be listened on.
    """

    def __init__(self, app: ASGIApp, settings: HttpSettings) -> None:
        self._app = app
        self._limit = descriptor_limit()
        self._host, self._listener = settings.host, listen(settings.host, settings.port, self._limit)
        self.port = int(self._listener.getsockname()[1])
        self.trouble = Trouble()
        self._closing = False
        self._server = self._new_server()
        self._thread = keep_running("http", self._serve, ended=lambda: self._closing, failed=self.trouble.say)

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
