"""A line's sign of life in a file, for health checks where there is neither systemd nor a web server to ask."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..atomic_folder import replace_text
from ..errors import ConfigError

__all__ = ["HEARTBEAT_SECONDS", "HEARTBEAT_VARIABLE", "PROBLEM", "beat", "heartbeat_file", "missing_heartbeat"]

HEARTBEAT_VARIABLE = "PATCHCORE_EDGE_HEARTBEAT"
"""Names the file, for the line that writes it and for who asks."""
PROBLEM = "X_PROBLEM="
"""Before what is wrong with a line that lives; service managers pass over names that begin so."""
HEARTBEAT_SECONDS = 60.0
"""A sign of life older than this is none; a line gives one three times as often."""
_LONGEST = 2000
_MOST_BYTES = 1 << 16


def heartbeat_file(environment: Mapping[str, str]) -> Path | None:
    """The file that the environment names, if it does.

    Raises:
        ConfigError: something else is there, which the line would write over and take away at its end.
    """
    name = environment.get(HEARTBEAT_VARIABLE, "")
    file = Path(name) if name else None
    if file is not None and file.exists() and not _is_sign(file):
        raise ConfigError(f"{file}, which {HEARTBEAT_VARIABLE} names, is something else; give a file of its own.")
    return file


def _is_sign(file: Path) -> bool:
    """A sign is one line without its end, or nothing."""
    try:
        return file.is_file() and file.stat().st_size <= _MOST_BYTES and b"\n" not in file.read_bytes()
    except OSError:
        return True  # gone since, or not to be read: then not to be written either


def beat(file: Path, lines: Sequence[str]) -> None:
    """Write down what the service manager is told; a file that cannot be written is no reason to stop a line."""
    with suppress(OSError):
        if "STOPPING=1" in lines:
            file.unlink(missing_ok=True)
        elif {"READY=1", "WATCHDOG=1"} & set(lines):
            problems = [line.removeprefix(PROBLEM) for line in lines if line.startswith(PROBLEM)]
            # Whole or not at all: who asks while it is written would find it empty, and the line healthy.
            replace_text(file, " ".join(problems))


def missing_heartbeat(file: Path) -> str:
    """What is wrong with the sign of life, or what the line that gives it says is wrong; empty where nothing is."""
    try:
        # Of a file that was written by the same machine a moment ago; a clock that was set back makes it no older.
        age = time.time() - file.stat().st_mtime
        problem = file.read_text(encoding="utf-8", errors="replace")[:_LONGEST].strip().rstrip(".")
    except OSError:
        return f"there is no sign of life in {file}: the line is not ready yet, has ended, or may not write there"
    return f"the last sign of life in {file} is {age:.0f} s old" if age > HEARTBEAT_SECONDS else problem
