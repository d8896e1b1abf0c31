"""The errors a user can meet, each with the exit code its command ends with.

PatchcoreEdgeError            2
├── ConfigError               2   an option, a configuration or a file that is not what it should be
│   ├── ValuesError           2   settings built in Python with values that they cannot have
│   ├── DataError             2   images: missing, unreadable, too small
│   └── CheckpointError       2   RUN is not a checkpoint, or not one that can do what was asked
├── FrameError                3   one frame that cannot be inspected; in a loop its verdict is ERROR
├── SourceError               3   a camera, stream, video or folder that gives no frames
│   └── UnforeseenError       3   a line or its source that failed in a way nobody foresaw
├── DeviceError               3   an OpenVINO device that is not there or refuses the model
└── BundleError               4   a bundle that is incomplete, changed or of another schema
    └── ParityError           4   a bundle whose scores are not those of the fitted model
"""

from __future__ import annotations

import getpass
import os
from typing import TypeVar

from .path_text import encodable
from .shown import shown

__all__ = [
    "MAKE_ROOM",
    "BundleError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "FrameError",
    "ParityError",
    "PatchcoreEdgeError",
    "SourceError",
    "UnforeseenError",
    "ValuesError",
    "cannot_read",
    "cannot_write",
    "shortened",
    "user_name",
]


class PatchcoreEdgeError(Exception):
    """Base of every error raised on purpose; its text is one sentence that says what to do, and shows no secret."""

    exit_code = 2

    def __init__(self, text: object = "") -> None:
        # Names of files that are no UTF-8 can neither be printed nor stored as they are.
        super().__init__(encodable(shown(text)))


class ConfigError(PatchcoreEdgeError):
    """An option, a configuration or a file that is not what it should be."""


class ValuesError(ConfigError, ValueError):
    """Settings built in Python with values that they cannot have; a ``ValueError`` to those who expect one."""


class DataError(ConfigError):
    """Images that are missing, unreadable or too small."""


class CheckpointError(ConfigError):
    """A RUN folder that is no checkpoint, or not one that can do what was asked."""


class FrameError(PatchcoreEdgeError):
    """One frame that cannot be inspected; the inspection loop turns it into the verdict ERROR."""

    exit_code = 3


class SourceError(PatchcoreEdgeError):
    """A camera, stream, video or folder that gives no frames."""

    exit_code = 3


class UnforeseenError(SourceError):
    """A line or its source that failed in a way nobody foresaw: it may be started again; its cause is for the log."""


class DeviceError(PatchcoreEdgeError):
    """An OpenVINO device that is not there or refuses the model."""

    exit_code = 3


class BundleError(PatchcoreEdgeError):
    """A bundle that is incomplete, changed since its export, or of an unknown schema."""

    exit_code = 4


class ParityError(BundleError):
    """A bundle whose scores are not those of the fitted model."""


_LONGEST = 300

MAKE_ROOM = "make room or choose another place"
"""The remedy for what is written on and on."""

_Error = TypeVar("_Error", bound=PatchcoreEdgeError)


def cannot_write(
    place: object,
    why: object,
    remedy: str = "choose another place",
    kind: type[_Error] = ConfigError,  # type: ignore[assignment]
) -> _Error:
    """The error for a place that refuses to be written to.

    Args:
        place: such as a path.
        why: the exception, or in words.
        remedy: what to do.
        kind: of the error.
    """
    reason = why.strerror if isinstance(why, OSError) and why.strerror else why
    if isinstance(why, PermissionError):
        return kind(
            f"{shortened(place)} cannot be written by {user_name()} ({reason}); let that user write it, or {remedy}."
        )
    return kind(f"{shortened(place)} cannot be written ({reason}); {remedy}.")


def cannot_read(place: object, why: OSError, kind: type[_Error] = ConfigError) -> _Error:  # type: ignore[assignment]
    """The error for a place that refuses to be read.

    Args:
        place: such as a path.
        why: what the operating system said.
        kind: of the error.
    """
    reason = why.strerror or str(why)
    if isinstance(why, PermissionError):
        return kind(f"{shortened(place)} cannot be read by {user_name()} ({reason}); let that user read it.")
    return kind(f"{shortened(place)} cannot be read ({reason}); check that it is there and whole.")


def user_name() -> str:
    """Who this process runs as; a service's user may have a number and no name."""
    try:
        return f"the user {getpass.getuser()}"
    except (OSError, KeyError, ImportError):
        return f"the user with the number {os.getuid()}" if hasattr(os, "getuid") else "this user"


def shortened(text: object) -> str:
    """As much of a text from outside as belongs into a sentence."""
    whole = str(text)
    return whole if len(whole) <= _LONGEST else f"{whole[: _LONGEST // 2]}...{whole[-_LONGEST // 2 :]}"
