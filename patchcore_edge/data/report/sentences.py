"""What a report says: rows of what is there, and doubts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.images.listing import describe_left_out
from patchcore_edge_runtime.images.preprocess import MIN_SIDE
from patchcore_edge_runtime.path_text import path_text

from ..datamodule import DataModule
from ..dataset import ImageItem
from ..picture_header import PictureHeader
from .copies import copy_doubts
from .names import Names, counted, plural
from .pictures import PictureFacts

__all__ = ["Roles", "Sentences", "folder_sentences", "picture_sentences", "role_sentences"]

Roles = Mapping[str, Sequence[ImageItem]]
"""``train``, ``validation`` and ``test``, as far as there are any, with their images."""

_SIZES_SHOWN = 3
_UNUSABLE: tuple[tuple[str, Callable[[PictureHeader], bool]], ...] = (
    ("of more than 16 bits", lambda header: header.bits > 16),
    ("with several pictures in one file", lambda header: header.pictures > 1),
    (f"of less than {MIN_SIDE}x{MIN_SIDE} pixels", lambda header: min(header.stored) < MIN_SIDE),
)
"""What a header says that a fit will refuse."""


@dataclass(frozen=True)
class Sentences:
    """One part of a report.

    Attributes:
        rows: pairs of a word and what there is to say of it.
        doubts: sentences.
        facts: plain values for JSON.
        notes: sentences on what was guessed, and on what is left out and was hardly meant to be used.
    """

    rows: list[tuple[str, str]]
    doubts: list[str]
    facts: dict[str, Any]
    notes: list[str] = field(default_factory=list)


def role_sentences(roles: Roles) -> Sentences:
    """The images by role and label."""
    labels = {role: Counter(str(item.label) for item in items) for role, items in roles.items()}
    rows = [(role, f"{plural(len(items), 'image')}: {counted(labels[role])}") for role, items in roles.items()]
    return Sentences(rows, [], {"images": {role: dict(labels[role]) for role in roles}})


def folder_sentences(module: DataModule) -> Sentences:
    """What was taken as what, and what is left out: what a person may have meant to be used is doubtful."""
    lost = [one for one in module.left_out if one.files]
    serious, rest = ([one for one in lost if one.matters is matters] for matters in (True, False))
    facts = {
        "notes": list(module.notes),
        "left_out": [{"path": path_text(one.path), "why": one.why.value, "files": one.files} for one in lost],
    }
    notes = [*module.notes, *([describe_left_out(rest, module.root)] if rest else [])]
    return Sentences([], [describe_left_out(serious, module.root)] if serious else [], facts, notes)


def picture_sentences(roles: Roles, pictures: PictureFacts, names: Names) -> Sentences:
    """Sizes, depths, channels, turns, and pictures that are there twice."""
    where = {item.path: (role, str(item.label)) for role, items in roles.items() for item in items}
    sizes = Counter(_size(header) for header in pictures.headers.values())
    kinds = Counter(_kind(header) for header in pictures.headers.values())
    turned = [path for path, header in pictures.headers.items() if header.orientation != 1]
    rows = [("sizes", _sizes(sizes)), ("pixels", _of_all(kinds))]
    if turned:
        rows.append(("turned", f"{plural(len(turned), 'image')} upright by EXIF ({names.few(turned)})"))
    rows.append(("same", _same(pictures)))
    facts = {
        "sizes": dict(sizes),
        "pixels": dict(kinds),
        "turned_by_exif": names.all(turned),
        "unreadable": names.all(pictures.unreadable),
        "same": [names.all(group) for group in pictures.same],
        "same_by": "pixels" if pictures.by_pixels else "bytes",
    }
    return Sentences(rows, list(_picture_doubts(roles, pictures, where, names)), facts)


def _picture_doubts(
    roles: Roles, pictures: PictureFacts, where: Mapping[Path, tuple[str, str]], names: Names
) -> Iterator[str]:
    lost = pictures.unreadable
    if lost:
        yield f"{plural(len(lost), 'image')} cannot be read and will be skipped ({names.few(lost)})."
    yield from copy_doubts(pictures.same, where, names)
    trained = [pictures.headers[item.path] for item in roles.get("train", ()) if item.path in pictures.headers]
    yield from _kind_doubts(roles, pictures, names)
    for what, is_such in _UNUSABLE:
        some = [path for path, header in pictures.headers.items() if is_such(header)]
        if some:
            yield f"{plural(len(some), 'image')} {what} cannot be used and will be skipped ({names.few(some)})."
    shapes = {header.upright for header in trained}
    rest = [item.path for role, items in roles.items() if role != "train" for item in items]
    others = [path for path in rest if path in pictures.headers and pictures.headers[path].upright not in shapes]
    if len(shapes) == 1 and others:
        yield (
            f"{plural(len(others), 'image has', 'images have')} another size than all of train "
            f"({names.few(others)}: {_size(pictures.headers[others[0]])})."
        )


def _kind_doubts(roles: Roles, pictures: PictureFacts, names: Names) -> Iterator[str]:
    files: dict[str, list[Path]] = {}
    for item in roles.get("train", ()):
        if item.path in pictures.headers:
            files.setdefault(_kind(pictures.headers[item.path]), []).append(item.path)
    usual, *odd = sorted(files, key=lambda kind: -len(files[kind])) or [""]
    if odd:
        named = "; ".join(f"{len(files[kind])} of {kind}: {names.few(files[kind])}" for kind in odd)
        yield (
            f"the training images are of several kinds ({len(files[usual])} of {usual}; {named}); "
            "the camera's pixels are of one."
        )


def _same(pictures: PictureFacts) -> str:
    compared = "pixels" if pictures.by_pixels else "files (`patchcore-edge data --pixels` compares pixels)"
    if not pictures.same:
        return f"no two are the same {compared}"
    return f"{plural(len(pictures.same), 'picture')} more than once, by their {compared}"


def _size(header: PictureHeader) -> str:
    height, width = header.upright
    return f"{width}x{height}"


def _kind(header: PictureHeader) -> str:
    return f"{header.channels}, {header.bits} bits"


def _of_all(counts: Counter[str]) -> str:
    return (
        next(iter(counts)) if len(counts) == 1 else "; ".join(f"{count} {kind}" for kind, count in counts.most_common())
    )


def _sizes(sizes: Counter[str]) -> str:
    """Width x height."""
    if len(sizes) <= _SIZES_SHOWN:
        return f"{_of_all(sizes)} (width x height)"
    sides = [[int(side) for side in size.split("x")] for size in sizes]
    spans = [f"{min(column)} to {max(column)}" for column in zip(*sides, strict=True)]
    return f"{len(sizes)} sizes: {spans[0]} wide, {spans[1]} high"
