"""Where a model server is and how it is asked."""

from __future__ import annotations

import os
import re
import ssl
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from ..errors import ConfigError, cannot_read
from ..shown import shown_url, shown_variable
from ..validation import Seconds, Settings

__all__ = ["ServerAddress", "ServerSettings", "is_model_name", "is_server"]

_PORTS = {"http": 80, "https": 443, "grpc": 9000, "grpcs": 443}
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_MODEL = re.compile(rf"/({_NAME})(?:/versions/({_NAME}))?/?")


def is_server(text: object) -> bool:
    """Whether a text names a model server and no folder."""
    return isinstance(text, str) and text.partition("://")[0].lower() in _PORTS and "://" in text


def is_model_name(name: str) -> bool:
    """Whether a model may be called so, in a URL and in a folder."""
    return re.fullmatch(_NAME, name) is not None


@dataclass(frozen=True)
class ServerAddress:
    """A model on a server.

    Attributes:
        scheme: ``grpc``, ``grpcs``, ``http`` or ``https``.
        host, port: of the server.
        model: its name there.
        version: the one that is asked for; empty for the server's own choice.
    """

    scheme: str
    host: str
    port: int
    model: str
    version: str = ""

    @classmethod
    def parse(cls, uri: str) -> ServerAddress:
        """Take ``grpc://HOST:PORT/MODEL`` or ``…/MODEL/versions/VERSION`` apart; raises ``ConfigError``."""
        try:
            parts = urllib.parse.urlsplit(uri)
            host, port = parts.hostname or "", parts.port
        except ValueError:  # which shows what cannot be read, and be it a password
            raise ConfigError(f"{shown_url(uri)} is no URL (its machine or port cannot be read); correct it.") from None
        scheme = parts.scheme.lower()
        if parts.username is not None or parts.query or parts.fragment:
            raise ConfigError(
                f"{shown_url(uri)} says more than a server and a model; give a secret by token_env in [server]."
            )
        found = _MODEL.fullmatch(parts.path)
        if scheme not in _PORTS or not host or found is None:
            raise ConfigError(
                f"{shown_url(uri)} names no model; give grpc, grpcs, http or https, then HOST:PORT and /MODEL."
            )
        return cls(scheme, host, port or _PORTS[scheme], found[1], found[2] or "")

    @property
    def encrypted(self) -> bool:
        """Whether the server is asked by TLS."""
        return self.scheme in ("https", "grpcs")

    @property
    def authority(self) -> str:
        """Machine and port, as a header says them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def shown(self) -> str:
        """As it may be shown: a model's name is no secret, and which of a server's models it is has to be known."""
        version = f" version {self.version}" if self.version else ""
        return f"{self.model}{version} at {self.scheme}://{self.authority}"


class ServerSettings(Settings):
    """``[server]``: ``uri`` is ``grpc://HOST:PORT/MODEL`` or ``http://``, with TLS ``grpcs://`` or ``https://``.

    Attributes:
        uri: which model on which server; ``…/versions/2`` for a version other than the server's own choice.
        timeout: seconds for one frame, from its first byte sent to the last one answered; connecting has as long.
        recheck: seconds after which a golden image is scored again on a connection that stays open.
        ca_file: PEM file of the authority that vouches for the server; the system's when absent.
        token_env: environment variable with a token, sent as ``Authorization: Bearer``.
    """

    uri: str = Field(min_length=1, max_length=1000)
    timeout: Seconds = 2.0
    recheck: Seconds = 60.0
    ca_file: Path | None = None
    token_env: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            address = self.address
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if not address.encrypted and self.ca_file is not None:
            raise ValueError(f"ca_file goes with https:// or grpcs://, and the server is asked by {address.scheme}://")
        return self

    @property
    def address(self) -> ServerAddress:
        """The model's."""
        return ServerAddress.parse(self.uri)

    def model_at(self, name: str) -> ServerSettings:
        """The same for another model of that server, in the same version where one is asked for."""
        address = self.address
        version = f"/versions/{address.version}" if address.version else ""
        return self.model_copy(update={"uri": f"{address.scheme}://{address.authority}/{name}{version}"})

    def token(self) -> str:
        """From the environment; empty where none is asked for.

        Raises:
            ConfigError: the variable is not set, or holds what no header can.
        """
        if self.token_env is None:
            return ""
        token = os.environ.get(self.token_env, "")
        if not token or not token.isascii() or not token.isprintable():
            raise ConfigError(f"{shown_variable(self.token_env)} holds no token for the server; set it.")
        return token

    def tls(self, protocol: str) -> ssl.SSLContext | None:
        """What the connection is encrypted with; None where it is not.

        Args:
            protocol: that the server is asked to speak.

        Raises:
            ConfigError: ``ca_file`` cannot be read or holds no certificate.
        """
        if not self.address.encrypted:
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError:
            raise ConfigError(f"{self.ca_file} holds no certificate in PEM; give the authority's.") from None
        except OSError as error:
            raise cannot_read(self.ca_file, error) from None
        context.set_alpn_protocols([protocol])
        return context
