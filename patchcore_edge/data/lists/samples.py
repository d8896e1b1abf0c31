"""The samples of a shard, by WebDataset's convention: files of one name up to its first dot are of one sample.

``0001.jpg`` is an image; ``0001.cls`` its label, or ``0001.json`` with ``label``, ``split`` and ``batch``;
``0001.mask.png`` its mask. Archives of a folder tree do without: ``test/crack/0001.png`` says its split and label by
its folders.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from patchcore_edge_runtime.images.listing import LeftOut, Why, why_left_out

from .archives import Archive
from .stored_path import stored_path
from .table import meaning
from .tar_index import Member, TarIndex, index_tar

__all__ = ["Sample", "Shard", "read_shard"]

_FACTS = "json"
_BESIDE = re.compile(r"(.+)\.(json|(?:cls|label|class|lbl)(?:\.txt)?)", re.IGNORECASE | re.DOTALL)
"""A file that says something of the image of its name."""
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a shard.

    Attributes:
        path: of the image.
        folders: it is in, of the archive and in it.
        label: what is written beside it; None where nothing is.
        is_broken: whether what is beside it cannot be read.
        split, batch: as written beside it; empty where nothing is.
    """

    path: Path
    folders: tuple[str, ...]
    label: str | None
    is_broken: bool
    split: str
    batch: str


@dataclass
class Shard:
    """What is in an archive.

    Attributes:
        samples: images, in their order.
        left_out: what is not used, and why.
    """

    samples: list[Sample] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def read_shard(archive: Archive, folders: tuple[str, ...]) -> Shard:
    """Look through an archive once.

    Args:
        archive: of images.
        folders: that it is in itself, below the data.

    Raises:
        DataError: it is compressed.
    """
    try:
        index = archive.opened(lambda file: index_tar(file, archive.path, _is_beside))
    except OSError:
        return Shard(left_out=[LeftOut(archive.path, Why.LOST)])
    shard = Shard(left_out=list(_left_out(archive, index)))
    beside = _Beside(index.contents)
    members = {member.name: member for member in index.members}
    for name, member in members.items():
        if _is_beside(name):
            continue
        why = why_left_out(PurePosixPath(name).parts)
        if why is None:
            shard.samples.append(_sample(archive, folders, member, beside))
        else:
            shard.left_out.append(LeftOut(archive.path / name, why))
    return shard


def _left_out(archive: Archive, index: TarIndex) -> Iterator[LeftOut]:
    yield from (LeftOut(archive.path / _flat(name), Why.UNSAFE) for name in index.unsafe)
    yield from (LeftOut(archive.path / name, Why.SPECIAL) for name in index.special)
    yield from (LeftOut(archive.path / f"byte {place}", Why.LOST) for place in index.lost)
    seen: set[str] = set()
    for member in reversed(index.members):
        if member.name in seen:
            yield LeftOut(archive.path / member.name, Why.REPLACED)
        seen.add(member.name)


def _flat(name: str) -> str:
    """A name to show that leads nowhere."""
    return name.replace("\\", "/").replace("/", "∕").replace("\0", "␀")


def _sample(archive: Archive, folders: tuple[str, ...], member: Member, beside: _Beside) -> Sample:
    path = stored_path(archive.path / member.name, archive.part(member.start, member.length))
    inside = PurePosixPath(member.name)
    facts, is_broken = beside.of(inside)
    return Sample(
        path,
        (*folders, *inside.parts[:-1]),
        facts.get("label"),
        is_broken,
        facts.get("split", ""),
        facts.get("batch", ""),
    )


class _Beside:
    """What small files say of the images that they lie beside."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._facts: dict[str, dict[str, str]] = defaultdict(dict)
        self._broken: set[str] = set()
        # A label for itself goes before one among other facts.
        for name, data in sorted(contents.items(), key=lambda one: not one[0].lower().endswith(_FACTS)):
            found = _BESIDE.fullmatch(name)
            assert found is not None
            facts = _parsed(data) if found[2].lower() == _FACTS else _label(data)
            self._facts[found[1].lower()] |= facts or {}
            if facts is None:
                self._broken.add(found[1].lower())

    def of(self, image: PurePosixPath) -> tuple[dict[str, str], bool]:
        """Label, split and batch, as far as they are said; and whether something cannot be read."""
        names = {
            str(image.with_name(stem)).lower() for stem in (image.stem, image.name.partition(".")[0] or image.name)
        }
        facts: dict[str, str] = {}
        for name in sorted(names):
            facts |= self._facts.get(name, {})
        return facts, not names.isdisjoint(self._broken)


def _is_beside(name: str) -> bool:
    return _BESIDE.fullmatch(name) is not None


def _label(data: bytes) -> dict[str, str] | None:
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    return {"label": text} if 0 < len(text) <= _LONGEST and text.isprintable() else None


def _parsed(data: bytes) -> dict[str, str] | None:
    try:
        facts = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(facts, dict):
        return None
    known = {meaning(str(key)): value for key, value in facts.items()}
    said = {name: _text(known[name]) for name in ("label", "split", "batch") if known.get(name) is not None}
    return None if any(value is None for value in said.values()) else {name: str(text) for name, text in said.items()}


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return text if len(text) <= _LONGEST and text.isprintable() else None
