"""Addresses of cameras: what is asked for, by whom, and what may be shown of it."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass

from ..errors import ConfigError, SourceError
from ..shown import shown_url

__all__ = ["Address"]


@dataclass(frozen=True)
class Address:
    """A URL, taken apart.

    Attributes:
        url: without user and password.
        username, password: empty where the URL has none.
    """

    url: str
    username: str = ""
    password: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """Take a URL apart; a password may hold ``/``, ``?``, ``#`` and ``@`` as people write them."""
        scheme, _, rest = text.partition("://")
        host_and_path = rest
        login = ""
        end = _end_of_login(rest)
        if end >= 0:
            login, host_and_path = rest[:end], rest[end + 1 :]
        username, _, password = login.partition(":")
        return cls(f"{scheme}://{host_and_path}", urllib.parse.unquote(username), urllib.parse.unquote(password))

    def with_login(self, username: str | None, password: str) -> Address:
        """The same with another user, where one is given."""
        return self if username is None else Address(self.url, username, password)

    @property
    def shown(self) -> str:
        """As it may be shown and recorded."""
        return shown_url(self.url)

    @property
    def full(self) -> str:
        """The whole URL, for a library that logs in by itself; special characters are escaped."""
        if not self.username:
            return self.url
        scheme, _, rest = self.url.partition("://")
        login = f"{urllib.parse.quote(self.username, safe='')}:{urllib.parse.quote(self.password, safe='')}"
        return f"{scheme}://{login}@{rest}"

    @property
    def host(self) -> str:
        """Name or number of the machine."""
        return self.split().hostname or ""

    def split(self) -> urllib.parse.SplitResult:
        """Host, port, path and query; raises ``SourceError`` for what is no URL."""
        try:
            parts = urllib.parse.urlsplit(self.url)
            _ = parts.port  # a port that is no number is found out here
        except ValueError:  # which shows what cannot be read, and be it a password
            raise SourceError(f"{self.shown} is no URL (its machine or port cannot be read); correct it.") from None
        return parts

    def require_host(self) -> None:
        """Raise ``ConfigError`` where the URL names no machine."""
        if not self.host:
            raise ConfigError(f"{self.shown} names no camera; write it as http://HOST/PATH.")


def _end_of_login(rest: str) -> int:
    """Where the ``@`` behind user and password is; -1 when there are none.

    Strictly, a login ends before the first ``/``, ``?`` or ``#``. People paste passwords that hold them; then what
    stands before the first of them has a colon and no number behind it, so it is no host and port.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        path = rest.find("/")
        # The last one before the path: a password may hold an @, or a ? or # and then an @.
        return rest.rfind("@", 0, path if path >= 0 else len(rest))
    host, colon, port = authority.rpartition(":")
    if not colon or host.startswith("["):
        return -1
    if not port.isdecimal():
        return rest.rfind("@")
    # A number: a port, unless an @ follows right in the next piece, as in admin:12#34@camera/.
    query = re.match(r"[^/]*", rest)
    return rest.rfind("@", 0, query.end()) if query else -1
