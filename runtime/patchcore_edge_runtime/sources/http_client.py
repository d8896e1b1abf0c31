"""GET from a camera: its login, its certificate, and no proxy between."""

from __future__ import annotations

import http.client
import urllib.parse
from contextlib import suppress

from ..errors import SourceError
from .address import Address
from .http_login import Login
from .tls import Trust, TrustingConnection

__all__ = ["HttpCamera"]

_MAX_REDIRECTS = 4
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_DRAINED = 1 << 16
_PORTS = {"http": 80, "https": 443}


class HttpCamera:
    """Asks one address for pictures, over one connection for as long as the camera keeps it open.

    A proxy set for the office is not its way: a camera is on the plant's network.

    Args:
        address: of the pictures, with user and password.
        timeout: seconds for each step: connecting, or the next bytes.
        trust: which certificate is the camera's.
    """

    def __init__(self, address: Address, timeout: float, trust: Trust) -> None:
        address.require_host()
        self.name = address.shown
        self._address, self._timeout, self._trust = address, timeout, trust
        self._login = Login(address.username, address.password)
        self._connection: http.client.HTTPConnection | None = None

    def get(self) -> http.client.HTTPResponse:
        """The camera's answer, logged in and redirected; its body is still to be read.

        Raises:
            SourceError: it does not answer, or refuses.
        """
        address, answered = self._address, False
        for _ in range(_MAX_REDIRECTS + 3):
            response = self._ask(address)
            if response.status == http.HTTPStatus.UNAUTHORIZED:
                offers = response.headers.get_all("WWW-Authenticate") or []
                # What it asked a moment ago is answered once: cameras lock out who tries a password again and again.
                if address.username and self._login.take(offers) and (not answered or self._login.stale):
                    answered = True
                    self._let_go(response)
                    continue
            elif response.status in _REDIRECTS and response.headers.get("Location"):
                address = self._elsewhere(address, str(response.headers.get("Location")))
                self.close()
                continue
            if response.status != http.HTTPStatus.OK:
                self.close()
                raise SourceError(self._refusal(response, address))
            if encoding := response.headers.get("Content-Encoding", "").strip().lower().removeprefix("identity"):
                self.close()
                raise SourceError(
                    f"{self.name} sends pictures packed once more ({encoding}), which was not asked for; switch that "
                    "off in the camera, or in the proxy before it."
                )
            return response
        self.close()
        raise SourceError(f"{self.name} cannot be opened (it sends from one address to the next)")

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, address: Address) -> http.client.HTTPResponse:
        parts = address.split()
        path = urllib.parse.urlunsplit(("", "", urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"), "", ""))
        path += f"?{urllib.parse.quote(parts.query, safe='/%:@!$&()*+,;=~?[]')}" if parts.query else ""
        kept_open = self._connection is not None
        try:
            return self._request(address, parts, path)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            if kept_open and not isinstance(error, TimeoutError):
                # The camera hung up between two pictures; that is no fault.
                with suppress(OSError, ValueError, http.client.HTTPException):
                    return self._request(address, parts, path)
                self.close()
            raise SourceError(f"{self.name} cannot be opened ({_words(error)})") from None

    def _request(self, address: Address, parts: urllib.parse.SplitResult, path: str) -> http.client.HTTPResponse:
        if self._connection is None:
            self._connection = self._connect(parts)
        login = self._login.header("GET", path) if address.username else {}
        self._connection.request("GET", path, headers={"User-Agent": "patchcore-edge", "Accept": "*/*", **login})
        return self._connection.getresponse()

    def _connect(self, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        port = parts.port or _PORTS[parts.scheme.lower()]
        assert parts.hostname is not None
        if parts.scheme.lower() == "https":
            return TrustingConnection(parts.hostname, port, self._timeout, self._trust, self.name)
        return http.client.HTTPConnection(parts.hostname, port, timeout=self._timeout)

    def _elsewhere(self, address: Address, location: str) -> Address:
        """Where a camera sends us; user and password go along to itself only, and never from HTTPS to HTTP."""
        target = Address.parse(urllib.parse.urljoin(address.url, location))
        old, new = address.split(), target.split()
        if new.scheme.lower() not in _PORTS or not new.hostname:
            raise SourceError(
                f"{self.name} sends to {target.shown}, which is no address of a picture; give another URL."
            )
        trusted = old.hostname == new.hostname and not (old.scheme.lower() == "https" and new.scheme.lower() == "http")
        return Address(target.url, address.username if trusted else "", address.password if trusted else "")

    def _let_go(self, response: http.client.HTTPResponse) -> None:
        """Read what is left of an answer, so that the connection can be used again."""
        with suppress(OSError, http.client.HTTPException):
            response.read(_MAX_DRAINED)
        if not response.isclosed():
            self.close()

    def _refusal(self, response: http.client.HTTPResponse, address: Address) -> str:
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            kinds = ", ".join(offer.split(" ")[0] for offer in response.headers.get_all("WWW-Authenticate") or [])
            offers = f" ({kinds})" if kinds else ""
            if not address.username:
                return f"{self.name} asks for a login{offers}; give username and password_env in [source]."
            return f"{self.name} refuses the user or the password{offers}; correct username and password_env."
        return f"{self.name} cannot be opened (HTTP {response.status} {response.reason})"


def _words(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
