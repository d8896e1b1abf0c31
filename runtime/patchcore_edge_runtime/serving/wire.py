"""One TCP connection to a model server, on which nothing takes longer than it may.

Libraries connect again by themselves when a server was away. Here each connection has to show first that the right
model is at its other end, so a connection that ended stays ended.
"""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from contextlib import suppress

from .errors import ServerError

__all__ = ["Wire"]

_BLOCK = 1 << 18


class Wire:
    """A connection that is open.

    Args:
        host, port: of the server.
        seconds: for connecting, TLS included; looking up the name has the system's own limit.
        tls: encrypts; plain when None.

    Attributes:
        deadline: of ``time.monotonic``, after which all that is under way fails.

    Raises:
        ServerError: the server cannot be reached, or nothing vouches for it.
    """

    def __init__(self, host: str, port: int, seconds: float, tls: ssl.SSLContext | None = None) -> None:
        self.deadline = time.monotonic() + seconds
        try:
            connected = socket.create_connection((host, port), seconds)
        except (OSError, ValueError) as error:  # a name that cannot be looked up is a ValueError
            raise ServerError(f"it cannot be reached ({_words(error)})") from None
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connected.settimeout(self._left())
            self._socket = connected if tls is None else tls.wrap_socket(connected, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            connected.close()
            raise ServerError(f"nothing vouches for its certificate ({error.verify_message})") from None
        except (OSError, ValueError) as error:
            connected.close()
            raise _explained(error) from None

    def begin(self, seconds: float) -> None:
        """From now on a request has this long, with all that belongs to it."""
        self.deadline = time.monotonic() + seconds

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it; raises ``ServerError``."""
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(data)
        except (OSError, ValueError) as error:
            raise _explained(error) from None

    def receive(self, size: int = _BLOCK) -> bytes:
        """What has come, at least a byte; raises ``ServerError``, also where the server has hung up."""
        try:
            self._socket.settimeout(self._left())
            data = self._socket.recv(size)
        except (OSError, ValueError) as error:
            raise _explained(error) from None
        if not data:
            raise ServerError("it has closed the connection")
        return data

    @property
    def silent(self) -> bool:
        """Whether nothing has come that nobody asked for, such as the end of the connection."""
        try:
            if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                return False
            return not select.select([self._socket], [], [], 0)[0]
        except (OSError, ValueError):
            return False

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        """What ``http.client`` reads an answer from; closing it leaves the connection open."""
        return io.BufferedReader(_Reader(self), _BLOCK)

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            self._socket.close()

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class _Reader(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._wire.receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _explained(error: Exception) -> ServerError:
    if isinstance(error, TimeoutError):
        return ServerError("it does not answer in time")
    return ServerError(f"the connection failed ({_words(error)})")


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
