"""Results posted to a web address."""

from __future__ import annotations

import json
import re
import socket
import threading
import urllib.error
import urllib.request
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from typing import IO, ClassVar

from pydantic import Field, NonNegativeInt, field_validator

from ..display.record import Record
from ..errors import ConfigError
from ..validation import Seconds
from .base import SinkContext, SinkSettings, token

__all__ = ["WebhookSettings", "WebhookSink"]

_FIRST_PAUSE_SECONDS = 0.5
# As a request takes it. What else people write there, the library would say in its error: a password, a secret path.
_URL = r"^https?://([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?([/?#][!-~]*)?$"


class WebhookSettings(SinkSettings):
    """``[sinks.webhook]``: JSON records are POSTed to ``url``.

    Attributes:
        url: that each record is POSTed to.
        token_env: environment variable with a token, sent as ``Authorization: Bearer``.
        timeout: seconds until an attempt is given up.
        retries: further attempts, after pauses of 0.5 s, 1 s, 2 s and so on; then the record counts as failed.
    """

    url: str = Field(json_schema_extra={"pattern": _URL})
    token_env: str | None = None
    timeout: Seconds = 5.0
    retries: NonNegativeInt = Field(default=2, le=10)

    @field_validator("url")
    @classmethod
    def _check(cls, url: str) -> str:
        found = re.fullmatch(_URL, url)
        if found is None or int((found[2] or ":0")[1:]) > 65_535:
            raise ValueError(
                "it is no address that begins with http:// or https:// and a machine, in plain letters, others as %XX; "
                "a secret that is no part of the path goes into token_env"
            )
        return url


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would turn the POST into a GET, and carry the token to somebody else."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


class _InTime(HTTPConnection):
    """Its answer has the time limit that each of its bytes has: one that drips would hold the sink for good."""

    def getresponse(self) -> HTTPResponse:
        late = threading.Event()

        def hang_up() -> None:
            late.set()
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)

        timer = threading.Timer(self.timeout or 0.0, hang_up)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()
        except (OSError, HTTPException):
            if late.is_set():
                raise TimeoutError("timed out") from None
            raise
        finally:
            timer.cancel()
        if late.is_set():  # what it had of the header by then looks as if it were the whole
            raise TimeoutError("timed out")
        return response


class _TlsInTime(_InTime, HTTPSConnection):
    """The same, encrypted."""


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_InTime, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_TlsInTime, req)


class WebhookSink:
    """POSTs each record as JSON; any answer below 300 means stored.

    Args:
        settings: address, token and number of attempts.
        first_pause: seconds before the second attempt; each further pause is twice as long.
    """

    Settings: ClassVar[type[SinkSettings]] = WebhookSettings
    pictures: ClassVar[bool] = False

    def __init__(self, settings: WebhookSettings, first_pause: float = _FIRST_PAUSE_SECONDS) -> None:
        self._settings, self._first_pause = settings, first_pause
        self._headers = {"Content-Type": "application/json"}
        text = token(settings.token_env)
        if text is not None:
            self._headers["Authorization"] = f"Bearer {text}"
        self._opener = urllib.request.build_opener(_NoRedirect, _Http, _Https)
        self._closed = threading.Event()

    @classmethod
    def from_settings(cls, settings: WebhookSettings, context: SinkContext) -> WebhookSink:
        """Post to the address that the settings name."""
        return cls(settings)

    def write(self, record: Record) -> None:
        """Post one record, retrying as the settings say."""
        body = json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False).encode()
        # The pattern of the settings lets only http and https through.
        request = urllib.request.Request(self._settings.url, body, self._headers, method="POST")  # noqa: S310
        pause = self._first_pause
        for attempt in range(self._settings.retries + 1):
            if attempt and self._closed.wait(pause):
                break
            pause *= 2
            reason = self._post(request)
            if reason is None:
                return
        raise ConfigError(f"{self._settings.url} did not take the record ({reason}); check the address and the server.")

    def close(self) -> None:
        """Nothing is held open."""
        self._closed.set()

    def _post(self, request: urllib.request.Request) -> str | None:
        try:
            with self._opener.open(request, timeout=self._settings.timeout):
                return None
        except (OSError, HTTPException, ValueError) as error:  # a name that cannot be looked up is a ValueError
            return str(getattr(error, "reason", "") or error)
