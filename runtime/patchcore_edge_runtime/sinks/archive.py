"""Frames as image files."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from pydantic import Field, PositiveFloat

from ..display.record import Record
from ..errors import ConfigError
from ..images.files import encode_image, write_bytes, write_image
from ..verdict import Verdict
from .base import SinkContext, SinkSettings, make_folder
from .budget import ByteBudget

__all__ = ["ArchiveSettings", "ArchiveSink", "OverlaySink"]

_ENTRY = re.compile(r"(\d{4}-\d\d-\d\d/\d{2}-\d\d-\d\d\.\d{3}Z_\d{6,}_[A-Z]+(?:-\d+)?)(\.png|_overlay\.jpg|\.json)")

_LONGEST_STEM = 200
"""Bytes of a file's name that what is written after it keeps: file systems take 255 in all."""


class OverlaySink:
    """The annotated picture of every frame, named after its file or its number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def file_name(index: int, name: str) -> str:
        """What the picture of a frame is called; of a long name, whose number tells it apart, the beginning."""
        stem = Path(name).stem if "#" not in name else "frame"
        while len(os.fsencode(stem)) > _LONGEST_STEM:
            stem = stem[:-1]
        return f"{index:06d}_{stem}.png"

    def write(self, record: Record) -> None:
        """Write one PNG."""
        write_image(self._folder / self.file_name(record.frame.index, record.frame.name), record.overlay)

    def close(self) -> None:
        """Nothing is held open."""


class ArchiveSettings(SinkSettings):
    """``[sinks.archive]``: the folder, its budget in MiB, and the verdicts worth keeping.

    Attributes:
        folder: of the archive, with a folder per day.
        max_mb: budget in MiB; the oldest entries go first.
    """

    folder: Path
    max_mb: PositiveFloat = 10_000.0
    verdicts: tuple[Verdict, ...] = Field(default=(Verdict.WARN, Verdict.NG, Verdict.ERROR))


class ArchiveSink:
    """Of each record the raw frame (PNG), the overlay (JPEG) and the facts (JSON), within a byte budget.

    Files are ``<day>/<time>Z_<frame>_<verdict>`` in UTC (a second one of that name ends in ``-2``) with ``.png``,
    ``_overlay.jpg`` and ``.json``; the JSON comes last, so an entry with its JSON is whole. When the budget is reached
    the oldest entries are removed; files of other names are left alone.

    Args:
        folder: of the archive; goes on with what is there.
        max_bytes: the budget.
        verdicts: of the records to keep.

    Raises:
        ConfigError: the folder cannot be made.
    """

    Settings: ClassVar[type[SinkSettings]] = ArchiveSettings
    pictures: ClassVar[bool] = True

    def __init__(
        self,
        folder: Path,
        max_bytes: int = 10_000 << 20,
        verdicts: tuple[Verdict, ...] = (Verdict.WARN, Verdict.NG, Verdict.ERROR),
    ) -> None:
        self._folder, self.verdicts = folder, verdicts
        make_folder(folder)
        self._budget = ByteBudget(folder, _ENTRY, max_bytes)

    @classmethod
    def from_settings(cls, settings: ArchiveSettings, context: SinkContext) -> ArchiveSink:
        """Open the archive that the settings name."""
        return cls(context.folder / settings.folder, round(settings.max_mb * 2**20), settings.verdicts)

    def write(self, record: Record) -> None:
        """Write one entry, or nothing of it when the disk refuses."""
        if record.result.verdict not in self.verdicts:
            return
        files = self._files(record)
        self._budget.make_room(sum(len(data) for data in files.values()))
        try:
            for path, data in files.items():
                write_bytes(path, data)
        except ConfigError:
            for path in files:
                path.unlink(missing_ok=True)
            raise
        self._budget.add(list(files))

    def close(self) -> None:
        """Nothing is held open."""

    def _files(self, record: Record) -> dict[Path, bytes]:
        moment = datetime.fromtimestamp(record.frame.time, UTC)
        clock = f"{moment:%H-%M-%S}.{moment.microsecond // 1000:03d}Z"
        name = f"{clock}_{record.frame.index:06d}_{record.result.verdict}"
        stem = _free(self._folder / f"{moment:%Y-%m-%d}" / name)
        files = {}
        if record.frame.image is not None:
            files[Path(f"{stem}.png")] = encode_image(record.frame.image, ".png")
        files[Path(f"{stem}_overlay.jpg")] = encode_image(record.overlay, ".jpg")
        text = json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False, indent=2)
        files[Path(f"{stem}.json")] = f"{text}\n".encode()
        return files


def _free(stem: Path) -> Path:
    """Two lines with one archive, or a source that says its own times, may come to one name twice."""
    taken, number = stem, 1
    while any(Path(f"{taken}{ending}").exists() for ending in (".json", "_overlay.jpg", ".png")):
        number += 1
        taken = stem.with_name(f"{stem.name}-{number}")
    return taken
