"""The images of a folder, and what is left out of it and why: one rule for fits, commands, sources and masks."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ..errors import DataError
from ..path_text import path_text
from ..system import is_hidden
from .formats import is_picture_name, is_readable_name

__all__ = [
    "LeftOut",
    "Listing",
    "Why",
    "describe_left_out",
    "is_left_behind",
    "is_overlay_name",
    "list_images",
    "why_left_out",
]


class Why(StrEnum):
    """Why a file or a folder is left out: what follows the number of files."""

    LEFT_BEHIND = "left behind by tools, or hidden"
    FORMAT = "of formats that are not read here (convert them to PNG or JPEG)"
    ARCHIVE = "holding other files (archives are read where they are named, or alone in a folder)"
    NO_IMAGE = "other than images"
    SUBFOLDER = "in subfolders (--no-recursive)"
    UNREADABLE = "or more in folders that cannot be opened (see whether they may be read)"
    LINK = "behind links to what is not there, or to what is listed already"
    RESULT = "written by patchcore-edge itself"
    UNUSED = "in folders that the layout has no place for"
    UNCLEAR = "in folders, or with labels, that sound like good parts where --good names others"
    NOT_GOOD = "of parts that are not good, where only good ones are learned"
    MISSING = "that the list names and that are not there"
    UNLABELLED = "of which the label is missing or cannot be read"
    LOST = "or more lost in archives that are damaged, break off or cannot be opened (make or copy them again)"
    UNSAFE = "in archives under names that lead out of them"
    SPECIAL = "in archives that are links, devices or sparse"
    REPLACED = "in archives that a later one of the same name replaces"


@dataclass(frozen=True)
class LeftOut:
    """A file, or a folder with all that is in it, that is not among the images.

    Attributes:
        path: of the file or folder.
        why: the reason.
        files: how many files that is; of a folder the pictures in it.
    """

    path: Path
    why: Why
    files: int = 1

    @property
    def matters(self) -> bool:
        """Whether a person may have meant it to be used: not what tools hide, nor a text file beside the photos."""
        return self.files > 0 and self.why not in (Why.LEFT_BEHIND, Why.NO_IMAGE, Why.RESULT)


@dataclass(frozen=True)
class Listing:
    """The images of a folder.

    Attributes:
        folder: where they are.
        files: the images, sorted.
        left_out: the rest, sorted.
    """

    folder: Path
    files: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


def is_left_behind(name: str, *, folder: bool) -> bool:
    """Whether a file or folder of that name is what a tool left there, or hidden, and so nobody's photo.

    ``.ipynb_checkpoints``, ``._photo.jpg``, ``@eaDir``, ``__MACOSX``, ``#recycle``, ``$RECYCLE.BIN``, ``Thumbs.db`` …
    """
    return name.startswith(".") or (_FOLDERS if folder else _FILES).fullmatch(name) is not None


_FOLDERS = re.compile(
    # Synology, QNAP, NetApp, Samba: thumbnails, recycle bins, snapshots. Photos and batches may be called #1.
    r"@.*|\$.*|#(recycle|snapshot)|~snapshot"
    # Windows, macOS, Linux, Python.
    r"|system volume information|recycle[rd]|recycle bin|found\.\d{3}|__macosx|network trash folder"
    r"|temporary items|thevolumesettingsfolder|lost\+found|__pycache__"
    # Thumbnails and previews of viewers and photo software.
    r"|_?thumbs|_?thumbnails|.*\.lrdata|.*\.lrcat-data|captureone|.*\.cocatalogdb",
    re.IGNORECASE | re.DOTALL,
)
_FILES = re.compile(
    r"thumbs\.db.*|ehthumbs.*\.db|zbthumbnail\.info|desktop\.ini|picasa\.ini|icon\r|syno(photo|file|video)_.*"
    # Files that are open, or on their way, in another program.
    r"|~\$.*|~syncthing~.*",
    re.IGNORECASE | re.DOTALL,
)
_Identity = tuple[int, int]
_SHOWN = 3
_ARCHIVE = ".tar"
_OF_A_RUN = ({"run.json", "model.safetensors"}, {"manifest.json", "model.xml"})
_RESULTS = "results.jsonl"
_OVERLAY = re.compile(r"\d{6}_.*\.png", re.DOTALL)


def why_left_out(names: Sequence[str], *, any_ending: bool = False) -> Why | None:
    """Why a file is left out, by the names of the folders from the top folder down to it, and its own; None if not.

    Args:
        names: of the folders and, last, of the file.
        any_ending: take the file whatever its ending.
    """
    *folders, name = names
    if any(is_left_behind(folder, folder=True) for folder in folders) or is_left_behind(name, folder=False):
        return Why.LEFT_BEHIND
    if any_ending or is_readable_name(name):
        return None
    if is_picture_name(name):
        return Why.FORMAT
    return Why.ARCHIVE if name.lower().endswith(_ARCHIVE) else Why.NO_IMAGE


def list_images(
    folder: Path, *, recursive: bool = True, leave_out: Collection[Path] = (), count: bool = True
) -> Listing:
    """The images in a folder, by their names; no file is opened.

    Args:
        folder: its own name may be anything: the rules are for what is in it.
        recursive: look into subfolders too, also into those that are links, each once.
        leave_out: folders that the caller writes to.
        count: count the pictures in folders that are left out.

    Raises:
        DataError: the folder cannot be opened.
    """
    walk = _Walk(recursive=recursive, own={_identity(own) for own in leave_out}, count=count)
    if not walk.enter(folder):
        raise DataError(f"{folder} cannot be opened; see whether it is a folder that may be read.")
    return Listing(folder, tuple(sorted(walk.files)), tuple(sorted(walk.left_out, key=lambda one: one.path)))


def describe_left_out(left_out: Sequence[LeftOut], folder: Path) -> str:
    """What is left out, a sentence for each reason with numbers and some names; empty where nothing is."""
    sentences = []
    for why in Why:
        some = [one for one in left_out if one.why is why and one.files]
        if some:
            count = sum(one.files for one in some)
            sentences.append(f"{count} {'file' if count == 1 else 'files'} {why} ({_names(some, folder)})")
    return f"Left out of {folder}: {'; '.join(sentences)}." if sentences else ""


def _names(some: Sequence[LeftOut], folder: Path) -> str:
    names = [_name(one, folder) for one in some[:_SHOWN]]
    more = [f"and {len(some) - _SHOWN} more"] if len(some) > _SHOWN else []
    endings = Counter(one.path.suffix.lower() for one in some)
    counted = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(_SHOWN))
    return f"{counted}: {', '.join([*names, *more])}" if some[0].why is Why.FORMAT else ", ".join([*names, *more])


def _name(one: LeftOut, folder: Path) -> str:
    below = one.path.relative_to(folder) if one.path.is_relative_to(folder) else one.path
    return path_text(below) if one.files == 1 else f"{path_text(below)} with {one.files}"


class _Walk:
    """One way through a folder and those in it."""

    def __init__(self, *, recursive: bool, own: set[_Identity | None], count: bool) -> None:
        self._recursive, self._own, self._count = recursive, own - {None}, count
        self._seen: set[_Identity | None] = set()
        self._above: set[_Identity | None] = set()
        self._folders: list[Path] = []
        self._links: list[Path] = []
        self.files: list[Path] = []
        self.left_out: list[LeftOut] = []

    def enter(self, top: Path) -> bool:
        """List a folder and all in it; False where it cannot be opened itself."""
        self._seen.add(_identity(top))
        self._above = {_identity(folder) for folder in (top, *top.absolute().parents)} - {None}
        if not self._take(top, is_top=True):
            return False
        # What is there itself before what is linked: so it is always the link that is left out.
        while self._folders or self._links:
            folder = (self._folders or self._links).pop()
            identity = _identity(folder)
            if identity is not None and identity in self._seen:
                self._leave(folder, Why.LINK, is_folder=True)
                continue
            self._seen.add(identity)
            if not self._take(folder):
                self._leave(folder, Why.UNREADABLE, is_folder=False)
        return True

    def _take(self, folder: Path, *, is_top: bool = False) -> bool:
        """Take a folder's files and note its subfolders; False where it cannot be opened."""
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            return False
        if not is_top and _is_result({entry.name for entry in found}, has_folders=any(map(_is_folder, found))):
            self._leave(folder, Why.RESULT, is_folder=True)
            return True
        for entry in found:
            path, is_folder = folder / entry.name, _is_folder(entry)
            why = self._why_not(entry, path) if is_folder else _why_not_file(entry)
            if why is not None:
                self._leave(path, why, is_folder)
            elif is_folder:
                (self._links if entry.is_symlink() else self._folders).append(path)
            else:
                self.files.append(path)
        return True

    def _leave(self, path: Path, why: Why, is_folder: bool) -> None:
        files = _pictures_below(path, all_of_them=why is Why.LEFT_BEHIND) if is_folder and self._count else 1
        self.left_out.append(LeftOut(path, why, files))

    def _why_not(self, entry: os.DirEntry[str], folder: Path) -> Why | None:
        if is_left_behind(entry.name, folder=True) or is_hidden(entry):
            return Why.LEFT_BEHIND
        if _identity(folder) in self._own:
            return Why.RESULT
        if entry.is_symlink() and _identity(folder) in self._above:
            return Why.LINK  # to what it lies in: all of that once more, under another name
        return None if self._recursive else Why.SUBFOLDER


def _why_not_file(entry: os.DirEntry[str]) -> Why | None:
    if is_hidden(entry):
        return Why.LEFT_BEHIND
    why = why_left_out([entry.name])
    if why is Why.LEFT_BEHIND or _is_file(entry):
        return why
    return Why.LINK if entry.is_symlink() else Why.NO_IMAGE


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link into a place that may not be read
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


def _identity(folder: Path) -> _Identity | None:
    """What tells a folder apart however it is called; None where there is none."""
    try:
        facts = folder.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def _is_result(names: Collection[str], *, has_folders: bool) -> bool:
    """Whether a folder with these in it is a RUN, a bundle, or what ``predict`` wrote, which has no subfolders."""
    if any(files.issubset(names) for files in _OF_A_RUN):
        return True
    pictures = [name for name in names if is_picture_name(name)]
    return not has_folders and _RESULTS in names and bool(pictures) and all(map(is_overlay_name, pictures))


def is_overlay_name(name: str) -> bool:
    """Whether a file is called as the annotated pictures are that ``predict`` writes."""
    return _OVERLAY.fullmatch(name) is not None


def _pictures_below(folder: Path, *, all_of_them: bool) -> int:
    count = 0
    for _, below, names in os.walk(folder):
        if not all_of_them:
            below[:] = [name for name in below if not is_left_behind(name, folder=True)]
        count += sum(is_picture_name(n) and (all_of_them or not is_left_behind(n, folder=False)) for n in names)
    return count
