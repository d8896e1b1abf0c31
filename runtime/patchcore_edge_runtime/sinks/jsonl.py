"""One JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import ConfigError
from .base import Record

__all__ = ["JsonlSink"]


class JsonlSink:
    """Appends a line per frame to ``path`` and flushes it, so that a cut-off run keeps what it claimed."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another place.") from None

    def write(self, record: Record) -> None:
        """Write one line."""
        self._file.write(json.dumps(record.as_json(), ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
