"""Calls by gRPC, one at a time, on one connection of HTTP/2.

grpc's own library is not used on the line PC: it connects again by itself and does not say so, and then another model
could answer that no golden image has been shown to.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .errors import ServerError, missing_packages, said
from .wire import Wire

__all__ = ["UnaryCalls"]

_WINDOW = (1 << 31) - 1
_DEFAULT_WINDOW = 65_535
_MAX_FRAME = 1 << 20
_MAX_HEADERS = 1 << 15
_PREFIX = 5
_STATUS = {
    "1": "CANCELLED", "2": "UNKNOWN", "3": "INVALID_ARGUMENT", "4": "DEADLINE_EXCEEDED", "5": "NOT_FOUND",
    "7": "PERMISSION_DENIED", "8": "RESOURCE_EXHAUSTED", "12": "UNIMPLEMENTED", "13": "INTERNAL",
    "14": "UNAVAILABLE", "16": "UNAUTHENTICATED",
}  # fmt: skip


class UnaryCalls:
    """An HTTP/2 connection for unary calls; it is closed when anything on it goes wrong.

    Args:
        wire: connected.
        headers: that every call has, besides those that gRPC itself asks for.

    Raises:
        ServerError: the connection failed.
        ConfigError: h2 is not installed.
    """

    def __init__(self, wire: Wire, headers: list[tuple[str, str]]) -> None:
        try:
            from h2.config import H2Configuration
            from h2.connection import H2Connection
            from h2.settings import SettingCodes
        except ImportError:
            wire.close()
            raise missing_packages() from None
        self._wire, self._headers = wire, headers
        self._http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http2.initiate_connection()
        self._http2.update_settings(
            {
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW,
                SettingCodes.MAX_FRAME_SIZE: _MAX_FRAME,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADERS,
            }
        )
        # What an answer may have at most is known before and looked at as it comes; a window would only slow it.
        self._http2.increment_flow_control_window(_WINDOW - _DEFAULT_WINDOW)
        self._flush()
        settled = _Settled()
        try:
            # Before, a frame of more than 16 KiB counts as one that is too long.
            while not settled.ended:
                self._take(settled)
        except BaseException:
            wire.close()
            raise

    @property
    def silent(self) -> bool:
        """Whether the connection is as the last call left it, but for what HTTP/2 itself says in between."""
        while not self._wire.silent:
            try:
                self._take(_Settled())
            except ServerError:
                return False
        return True

    def call(self, method: str, request: bytes, seconds: float, limit: int) -> bytes:
        """Ask and wait for the answer.

        Args:
            method: ``/package.Service/Method``.
            request: the message.
            seconds: for all of it.
            limit: bytes that the answer's message may have.

        Raises:
            ServerError: the server refuses, or does not answer as gRPC has it.
        """
        self._wire.begin(seconds)
        try:
            call = _Call(self._http2.get_next_available_stream_id(), limit)
            headers = [*self._headers, ("grpc-timeout", f"{max(1, round(seconds * 1000))}m")]
            with _spoken():
                self._http2.send_headers(call.stream, [(":path", method), *headers])
            self._send(call, b"\0" + len(request).to_bytes(4, "big") + request)
            while not call.ended:
                self._take(call)
            return call.message()
        except BaseException:
            self._wire.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._wire.close()

    def _send(self, call: _Call, data: bytes) -> None:
        view = memoryview(data)
        while view and not call.ended:
            with _spoken():
                room = self._http2.local_flow_control_window(call.stream)
            size = min(room, self._http2.max_outbound_frame_size, len(view))
            if size <= 0:
                self._flush()
                self._take(call)
                continue
            part, view = view[:size], view[size:]
            with _spoken():
                self._http2.send_data(call.stream, part, end_stream=not view)
        self._flush()

    def _take(self, call: _Call | _Settled) -> None:
        """One piece of what the server sends."""
        data = self._wire.receive()
        with _spoken():
            for event in self._http2.receive_data(data):
                call.take(event)
                if length := getattr(event, "flow_controlled_length", 0):
                    self._http2.increment_flow_control_window(length)
        self._flush()

    def _flush(self) -> None:
        if data := self._http2.data_to_send():
            self._wire.send(data)


@contextmanager
def _spoken() -> Iterator[None]:
    """Whatever a server does to HTTP/2 is its fault and no fault of the line."""
    from h2.exceptions import H2Error

    try:
        yield
    except (H2Error, ValueError, LookupError) as error:
        raise ServerError(f"it does not speak HTTP/2 ({said(error)})") from None


class _Settled:
    """Whether the server has agreed to what was asked for at the start."""

    ended = False

    def take(self, event: Any) -> None:
        """Note what an event says; raises ``ServerError`` where it ends the connection."""
        _still_open(event)
        self.ended = self.ended or type(event).__name__ == "SettingsAcknowledged"


def _still_open(event: Any) -> None:
    if type(event).__name__ == "ConnectionTerminated":
        raise ServerError("it has closed the connection")


class _Call:
    """What has come of one call's answer."""

    def __init__(self, stream: int, limit: int) -> None:
        self.stream, self.ended = stream, False
        self._limit = limit
        self._data = bytearray()
        self._headers: dict[str, str] = {}

    def take(self, event: Any) -> None:
        """Note what an event says; raises ``ServerError`` where it ends the call."""
        _still_open(event)
        kind = type(event).__name__
        if getattr(event, "stream_id", None) != self.stream:
            return
        if kind in ("ResponseReceived", "TrailersReceived"):
            self._headers |= dict(event.headers)
        elif kind == "DataReceived":
            self._data += event.data
            self._look()
        elif kind == "StreamReset":
            raise ServerError("it has given up the request")
        self.ended = self.ended or kind == "StreamEnded"

    def _look(self) -> None:
        if len(self._data) < _PREFIX:
            return
        length = int.from_bytes(self._data[1:_PREFIX], "big")
        if length > self._limit or len(self._data) > _PREFIX + length:
            raise ServerError(f"its answer has more than {self._limit} bytes, which no answer of this model has")
        if self._data[0]:
            raise ServerError("it compresses what was not asked to be compressed")

    def message(self) -> bytes:
        """The answer's message; raises ``ServerError`` for a refusal."""
        status = self._headers.get("grpc-status", "")
        if self._headers.get(":status") != "200" or not status:
            raise ServerError(f"it does not answer as gRPC has it (HTTP {said(self._headers.get(':status'))})")
        if status != "0":
            why = said(urllib.parse.unquote(self._headers.get("grpc-message", "")))
            raise ServerError(f"it refuses ({_STATUS.get(status, f'gRPC status {said(status)}')}: {why})")
        if len(self._data) < _PREFIX or int.from_bytes(self._data[1:_PREFIX], "big") != len(self._data) - _PREFIX:
            raise ServerError("its answer is cut off")
        return bytes(self._data[_PREFIX:])
