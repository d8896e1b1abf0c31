"""``health``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import ConfigError, SourceError

if TYPE_CHECKING:
    from ..sinks.http.settings import HttpSettings

__all__ = ["health"]

_SECONDS = 5.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - what the server listens on, not where it is asked


def health(
    config: Annotated[Path, typer.Option("--config", "-c", readable=False, help="The file of the line that runs.")],
) -> None:
    """Whether the line of this file, which runs on this PC, is healthy; for Docker and other watchers.

    Asks the line's web server, where the file has [sinks.http]; else looks for a sign of life in the file that the
    environment variable PATCHCORE_EDGE_HEARTBEAT names, for the line and for this command. Exit code 3: it is not.
    """
    from ..line.config_file import load_lines
    from ..line.heartbeat import HEARTBEAT_VARIABLE, heartbeat_file, missing_heartbeat
    from ..sinks.http.settings import HttpSettings

    file = load_lines(config, {}, os.environ)
    sinks = [sink for line in file.lines for sink in line.sinks.values()]
    servers = [file.server, *(sink for sink in sinks if isinstance(sink, HttpSettings))]
    asked = next((server for server in servers if server is not None and server.port), None)
    sign = heartbeat_file(os.environ)
    if asked is None and sign is None:
        raise ConfigError(
            f"{config} has no [sinks.http] to ask; add it, or set {HEARTBEAT_VARIABLE} to a file, for the line too."
        )
    problem = _ask(asked) if asked is not None else missing_heartbeat(sign) if sign is not None else ""
    if problem:
        raise SourceError(f"{file.lines[0].name} is not healthy: {problem}.")
    typer.echo("healthy")


def _ask(server: HttpSettings) -> str:
    """What the line's web server says is wrong; empty where nothing is."""
    import urllib.error
    import urllib.request

    host = _ANY_ADDRESS.get(str(server.host), f"[{server.host}]" if ":" in str(server.host) else str(server.host))
    url = f"http://{host}:{server.port}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError as error:
        return error.read(2000).decode(errors="replace").strip() or f"its web server answers {error.code}"
    except OSError as error:
        return f"its web server at {host}, port {server.port}, does not answer ({getattr(error, 'reason', error)})"
