"""The protocol of all sinks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol, Self

from pydantic import AfterValidator, Field, PositiveInt

from ..display.record import Record
from ..errors import ConfigError, cannot_write
from ..monitoring.status import LineStatus
from ..shown import shown_variable
from ..validation import Settings
from ..verdict import Verdict

__all__ = [
    "Host",
    "LineSink",
    "Sink",
    "SinkContext",
    "SinkSettings",
    "Trigger",
    "make_folder",
    "missing_extra",
    "secret",
    "token",
]


def _is_machine(host: str) -> str:
    if not re.fullmatch(r"[\w.:%\[\]\-]{1,255}", host) or not _can_be_looked_up(host):
        raise ValueError(
            "this is not the name or the number of a machine; user, password and path have keys of their own"
        )
    return host


def _can_be_looked_up(host: str) -> bool:
    """Whether the system can be asked for it: with a part of more than 63 letters, or an empty one, it cannot."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


Host = Annotated[str, AfterValidator(_is_machine)]
"""A machine; a URL here would carry its password into every log."""


class Sink(Protocol):
    """Takes every record, in order."""

    def write(self, record: Record) -> None:
        """Store one record.

        Raises:
            PlaceBusyError: not now; whoever has room for further records keeps this one and tries again.
            ConfigError: the place it writes to refuses.
        """

    def close(self) -> None:
        """Finish what was written; may be called more than once."""


class SinkSettings(Settings):
    """What every ``[sinks.<name>]`` table may say; each sink adds its own keys.

    Attributes:
        kind: which sink it is, where the table has another name: two archives are two names and one kind.
        verdicts: the records to store; all of them unless said otherwise.
        queue: records that may wait for a slow sink before further ones are dropped and counted.
        required: the line is not healthy while this sink fails; others make it degraded.
    """

    kind: str = ""
    verdicts: tuple[Verdict, ...] = tuple(Verdict)
    queue: PositiveInt = Field(default=512, le=1_000_000)
    required: bool = False

    def occupies(self) -> list[str]:
        """What no second sink may have, besides the files that it writes, in words; two that do disturb each other."""
        return []


Trigger = Callable[[str], Future[Record] | None]
"""From the name of a part: the record of its frame, once the line has judged it; None when nobody will."""


@dataclass(frozen=True)
class SinkContext:
    """What a line tells its sinks.

    Attributes:
        status: the line's counters, for those who show them.
        fps: frames per second of the source; 0 where it does not know.
        folder: what relative paths are relative to.
        trigger: asks for one frame of the part of that name and returns at once: the record to come, or None when the
            source refuses. Absent where the source runs free.
        live: the source cannot wait, so a slow sink loses records rather than delaying verdicts.
        patient: pictures come when somebody puts them there, as into a watched folder: silence is no fault.
    """

    status: LineStatus = field(default_factory=LineStatus)
    fps: float = 0.0
    folder: Path = field(default_factory=Path)
    trigger: Trigger | None = None
    live: bool = True
    patient: bool = False


class LineSink(Sink, Protocol):
    """A sink that a line's configuration can name; it stands in ``registry.SINKS``.

    One that still has records to deliver after ``write`` may have ``pending`` (int, how many) and ``trouble``
    (``Trouble``, why not): the line's status shows both.

    Attributes:
        Settings: the pydantic model of its table.
        pictures: whether it needs pixels; the others are given records without, which may wait in numbers.
    """

    Settings: ClassVar[type[SinkSettings]]
    pictures: ClassVar[bool]

    @classmethod
    def from_settings(cls, settings: Any, context: SinkContext) -> Self:
        """Build the sink from its own ``Settings``; raises ``ConfigError`` when its place refuses."""


def make_folder(folder: Path) -> None:
    """Make the folder that a sink writes to, before the line starts and not with the first frame.

    Raises:
        ConfigError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(f"The folder {folder}", error) from None


def missing_extra(extra: str) -> ConfigError:
    """The error for an optional dependency that is not installed."""
    return ConfigError(f"The {extra} sink needs pip install 'patchcore-edge-runtime[{extra}]'.")


def token(variable: str | None) -> str | None:
    """A secret that travels in an HTTP header, which takes ASCII only."""
    text = secret(variable)
    if text is not None and not (text.isascii() and text.isprintable()):
        raise ConfigError(f"The token in {variable} has characters beyond ASCII; choose letters and digits.")
    return text


def secret(variable: str | None) -> str | None:
    """A password or token from the environment variable of that name; None when no variable is named.

    Raises:
        ConfigError: the variable is not set or empty.
    """
    if variable is None:
        return None
    value = os.environ.get(variable, "")
    if not value:
        raise ConfigError(f"{shown_variable(variable)} is not set; put the secret there.")
    return value
