"""Connections of the web server: how many there may be, from whom, and for how long without a request.

Whoever can reach the port can open connections, before any token is asked for. Each costs a descriptor, and those are
the line's, which needs them for its files and its camera.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections import Counter
from typing import Any, Protocol

from ...errors import ConfigError

__all__ = ["Places", "bounded_protocol", "descriptor_limit", "listen", "places_for"]

_LOG = logging.getLogger(__name__)
# Of single requests: what is wrong with one, its client is told, who could fill the log with it.
_REQUESTS = logging.getLogger(f"{__name__}.requests")
_REQUESTS.setLevel(logging.ERROR)
_MOST = 96
_FEWEST = 8
# One client, which may be a proxy for all, never has every place.
_SHARE_OF_ONE = 5 / 6
# Until the header of a request is whole, the first one of a connection and each that follows.
_HEADER_SECONDS = 5.0
# Until a client that is sent something takes it.
_STALL_SECONDS = 5.0
# Small, so that one who does not read is noticed: what waits in the system's buffers looks as if it were read.
_SEND_BUFFER = 64 << 10
# Connections that the system keeps until they are accepted.
_BACKLOG = 128
_LOG_SECONDS = 60.0


class Connection(Protocol):
    """What ``Places`` needs to know of a connection."""

    @property
    def host(self) -> str:
        """Address of the client."""

    @property
    def is_answered(self) -> bool:
        """Whether a request of this connection is in hand."""

    def end(self) -> None:
        """Close it at once."""


class Places:
    """The connections that are open; a new one finds a place as long as another waits without having asked anything.

    Args:
        total: connections at a time.
        of_one: connections at a time from one address.
    """

    def __init__(self, total: int, of_one: int) -> None:
        self.total, self.of_one = total, of_one
        self._taken: dict[Connection, None] = {}
        self._ended, self._logged = 0, -_LOG_SECONDS

    def enter(self, one: Connection) -> None:
        """Give it a place. Where there is none, the oldest that waits has to go, of the address with the most."""
        addresses = Counter(other.host for other in self._taken)
        if addresses[one.host] >= self.of_one:
            self._make_room(one, one.host)
        elif len(self._taken) >= self.total:
            self._make_room(one, *(address for address, _ in addresses.most_common()))
        else:
            self._taken[one] = None

    def leave(self, one: Connection) -> None:
        """It is closed; nothing happens when it had no place."""
        self._taken.pop(one, None)

    def _make_room(self, one: Connection, *addresses: str) -> None:
        waiting = [other for other in self._taken if not other.is_answered]
        oldest = next((other for address in addresses for other in waiting if other.host == address), None)
        if oldest is not None:
            self.leave(oldest)
            self._taken[one] = None
        self._end(oldest or one)

    def _end(self, one: Connection) -> None:
        self._ended += 1
        if time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            _LOG.warning(
                "The web server has %d connections, the last from %s; %d were closed so far to make room.",
                len(self._taken),
                one.host,
                self._ended,
            )
        one.end()


def descriptor_limit() -> int | None:
    """Descriptors that this process may have open; None where the system has no such number."""
    if sys.platform == "win32":
        return None
    import resource

    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def places_for(limit: int | None) -> Places:
    """As many as the descriptors allow: a quarter of them at most."""
    total = _MOST if limit is None else min(_MOST, max(_FEWEST, limit // 4))
    return Places(total, int(total * _SHARE_OF_ONE))


class _Bounded(asyncio.Protocol):
    """What stands before uvicorn's own HTTP: time limits, and a place among ``places``."""

    places: Places
    host = ""
    # uvicorn's: the request being answered, the event loop, the connection.
    cycle: Any
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    logger: logging.Logger
    _request_due: asyncio.TimerHandle | None = None
    _reading_due: asyncio.TimerHandle | None = None

    @property
    def is_answered(self) -> bool:
        """Whether a request of this connection is in hand."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.logger = _REQUESTS
        peer = transport.get_extra_info("peername")
        self.host = str(peer[0]) if peer else ""
        self._await_request()
        self.places.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.places.leave(self)
        _cancel(self._request_due)
        _cancel(self._reading_due)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.is_answered:
            _cancel(self._request_due)

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(msg)  # type: ignore[misc]  # uvicorn's
        if self.is_answered:
            # What is wrong came behind a request in hand: to answer that one too is an error by now, and a page of log.
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]  # uvicorn's
        if not self.is_answered:
            self._await_request()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading_due = self.loop.call_later(_STALL_SECONDS, self.end)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._reading_due)

    def end(self) -> None:
        # Not close(), which waits for the client to take what it is still to get.
        self.transport.abort()

    def _await_request(self) -> None:
        _cancel(self._request_due)
        self._request_due = self.loop.call_later(_HEADER_SECONDS, self.end)


def bounded_protocol(places: Places) -> type[asyncio.Protocol]:
    """uvicorn's HTTP with time limits, its connections in ``places``; raises ``ImportError`` without uvicorn."""
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return type("BoundedProtocol", (_Bounded, H11Protocol), {"places": places})


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class _Listener(socket.socket):
    """Gives back what would take one of the last descriptors: the system always hands out the smallest free number."""

    first_reserved: int | None = None

    def listen(self, _accepted_at_once: int = 0, /) -> None:
        # asyncio has one number for both.
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        connection, address = super().accept()
        if self.first_reserved is not None and connection.fileno() >= self.first_reserved:
            connection.close()
            raise ConnectionAbortedError
        return connection, address


def listen(host: str, port: int, limit: int | None) -> socket.socket:
    """A listening socket that leaves the last quarter of ``limit`` descriptors, 64 at most, to others.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        plain = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be listened on ({error.strerror}); choose another port.") from error
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
    listener = _Listener(fileno=plain.detach())
    listener.first_reserved = None if limit is None else limit - min(64, limit // 4)
    return listener
