"""How many frames a recording must give, as far as its file says so.

MP4 and AVI count their frames, apart from those that an edit leaves out and from empty ones. Others say how long they
are, from which a number follows where the frames come at an even rate.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

__all__ = ["Claim", "Rhythm", "read_claim"]

# An estimate from the length may be a little off, with the first and the last frame.
_SHARE, _FRAMES = 0.02, 1
# So many uneven gaps are no accident.
_UNEVEN_SHARE = 0.05
_MAX_HEADER_BYTES = 64 << 20
_MAX_BOXES = 10_000
_MVHD, _ELST = struct.Struct(">II"), struct.Struct(">Ii")


@dataclass
class Rhythm:
    """Whether frames come at an even rate, from the times at which they are shown."""

    gaps: Counter[int] = field(default_factory=Counter)
    last: float | None = None

    def add(self, seconds: float) -> None:
        """Take the next frame's time."""
        if self.last is not None:
            self.gaps[round(1000 * (seconds - self.last))] += 1
        self.last = seconds

    @property
    def even(self) -> bool:
        """Whether nearly all frames follow one another at the same distance."""
        if not self.gaps:
            return True
        usual = self.gaps.most_common(1)[0][0]
        uneven = sum(count for gap, count in self.gaps.items() if abs(gap - usual) > max(2, usual / 2))
        return uneven <= _UNEVEN_SHARE * self.gaps.total()


@dataclass(frozen=True)
class Claim:
    """What a file says.

    Attributes:
        frames: that it must give; 0 where it says nothing.
        counted: it is a count and not an estimate.
    """

    frames: int
    counted: bool

    def missing(self, given: int, rhythm: Rhythm) -> bool:
        """Whether ``given`` frames are too few."""
        if self.counted:
            return given < self.frames
        return given < self.frames * (1 - _SHARE) - _FRAMES and rhythm.even


def read_claim(path: Path, counted: float, fps: float) -> Claim:
    """What the file at ``path`` says.

    Args:
        path: of the recording.
        counted: the number of frames that the decoder reports, from the file's index or from its length.
        fps: frames per second.
    """
    frames = int(counted) if math.isfinite(counted) and 0 < counted < 1 << 40 else 0
    try:
        with path.open("rb") as file:
            start = file.read(12)
            if start[:4] == b"RIFF" and start[8:] == b"AVI ":
                return Claim(min(frames, _frames_in_avi(file) or frames), counted=True)
            if start[4:8] == b"ftyp":
                seconds = _length_of_edited_mp4(file)
                return Claim(frames if seconds is None else min(frames, math.floor(seconds * fps)), counted=True)
    except (OSError, struct.error):
        pass
    return Claim(frames, counted=False)


def _frames_in_avi(file: BinaryIO) -> int:
    """Frames that are not empty, by the index; 0 where there is none, or where it is not the whole file's."""
    size = file.seek(0, 2)
    riff = 8 + struct.unpack("<I", _at(file, 4, 4))[0]
    if riff + 8 < size:
        return 0  # several of them, each with an index of another kind
    place = 12
    for _ in range(_MAX_BOXES):
        head = _at(file, place, 8)
        if len(head) < 8:
            return 0
        name, length = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"idx1":
            index = _at(file, place + 8, min(length, _MAX_HEADER_BYTES))
            entries = struct.iter_unpack("<4sIII", index[: len(index) // 16 * 16])
            return sum(1 for entry in entries if entry[0][2:] in (b"dc", b"db") and entry[3])
        place += 8 + length + length % 2
    return 0


def _length_of_edited_mp4(file: BinaryIO) -> float | None:
    """Seconds that are shown, where an edit leaves frames out; None where none does, or in doubt."""
    moov = next((box for name, box in _boxes(file) if name == b"moov"), b"")
    edit, header = moov.find(b"elst"), moov.find(b"mvhd")
    if edit < 0 or header < 0 or moov[edit + 4] != 0 or moov[header + 4] != 0:
        return None
    _, start = _ELST.unpack_from(moov, edit + 12)
    scale, length = _MVHD.unpack_from(moov, header + 16)
    return length / scale if start > 0 and scale else None


def _boxes(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    place = 0
    for _ in range(_MAX_BOXES):
        head = _at(file, place, 16)
        if len(head) < 8:
            return
        size, name = struct.unpack(">I4s", head[:8])
        size = struct.unpack(">Q", head[8:])[0] if size == 1 and len(head) == 16 else size
        if size < 8:
            return
        yield name, _at(file, place, size) if name == b"moov" and size <= _MAX_HEADER_BYTES else b""
        place += size


def _at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
