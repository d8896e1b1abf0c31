"""The table ``[sinks.http]``: where the server listens, and for how many."""

from __future__ import annotations

import ipaddress

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ...errors import ConfigError
from ...validation import Seconds
from ..base import Host, SinkSettings, token

__all__ = ["HttpSettings"]

_SHORTEST_TOKEN = 16


class HttpSettings(SinkSettings):
    """``[sinks.http]``: where to listen, and for how many.

    Attributes:
        port: to listen on; any free one when 0.
        host: an address of this machine; other machines reach it only when it is not a loopback address.
        token_env: environment variable with the token that clients must show; needed when not on loopback, and then
            of 16 characters or more.
        results: newest results to keep for GET /results.
        stale_seconds: silence after which /healthz says that the line stands still; one with triggers, or that
            watches a folder, may be silent.
        live_fps, live_width: upper limits of the live view, in frames per second and pixels.
        viewers: live views at a time.
        trigger_timeout: seconds that POST /trigger waits for its verdict.
    """

    host: Host = "127.0.0.1"
    port: NonNegativeInt = Field(default=8080, le=65535)
    token_env: str | None = None
    results: PositiveInt = Field(default=1000, le=100_000)
    stale_seconds: Seconds = 30.0
    live_fps: PositiveFloat = Field(default=10.0, le=1000)
    live_width: PositiveInt = Field(default=1280, le=65535)
    viewers: PositiveInt = Field(default=8, le=1000)
    trigger_timeout: Seconds = 10.0

    @model_validator(mode="after")
    def _check(self) -> HttpSettings:
        if self.token_env is None and not self.is_loopback:
            raise ValueError(f"host {self.host} is open to other machines and needs token_env")
        return self

    def occupies(self) -> list[str]:
        """Its port."""
        return [f"port {self.port} of {self.host}"] if self.port else []

    def token(self) -> str | None:
        """What clients must show; None where everybody on this machine may ask.

        Raises:
            ConfigError: the variable is not set, or holds what others could guess.
        """
        text = token(self.token_env)
        if text is not None and len(text) < _SHORTEST_TOKEN and not self.is_loopback:
            raise ConfigError(
                f"The token in {self.token_env} has {len(text)} characters, and {self.host} is open to other machines; "
                f"choose {_SHORTEST_TOKEN} or more at random."
            )
        return text

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
