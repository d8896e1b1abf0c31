"""Image files of which each is opened and decoded once, however often its pixels are asked for afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import SpooledTemporaryFile
from threading import Lock
from types import TracebackType
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.frame_check import FrameStats, measure
from patchcore_edge_runtime.images.preprocess import Image, PreprocessSpec

from .dataset import ImageDataset, ImageItem, decoded
from .digests import file_bytes

__all__ = ["DecodedFiles"]

_IN_MEMORY = 256 << 20
"""Bytes of pixels that stay in memory; beyond them they go to a temporary file."""
_AT_A_TIME = 64
_FACTS = TypeAdapter(list[tuple[str, FrameStats | None, str]])
"""Digest, statistics and what is wrong with each of some files."""


@dataclass(frozen=True)
class _Found:
    """What a file is: digest, and either statistics and pixels, or what is wrong with it."""

    digest: str
    stats: FrameStats | None
    pixels: Image | None
    error: str


class DecodedFiles:
    """The files of some items, read when it is made.

    Args:
        items: whose files.
        spec: the model's preprocessing.
        own: gives the places of the files that are read now, of so many different ones; of the others, what somebody
            else found has to be told (``know``), and their pixels are decoded when they are asked for.
    """

    def __init__(self, items: Sequence[ImageItem], spec: PreprocessSpec, own: Callable[[int], range] = range) -> None:
        self._spec = spec
        self._shape = (*spec.input_size, 3)
        # Who makes it closes it: it is its own context.
        self._file = SpooledTemporaryFile(_IN_MEMORY, prefix="patchcore-edge-")  # noqa: SIM115
        self._lock = Lock()
        self._rows: dict[Path, int] = {}
        self._found: dict[Path, _Found] = {}
        everything = list(dict.fromkeys(item.path for item in items))
        paths = [everything[place] for place in own(len(everything))]
        try:
            with ThreadPoolExecutor() as threads:
                for start in range(0, len(paths), _AT_A_TIME):
                    some = paths[start : start + _AT_A_TIME]
                    for path, found in zip(some, threads.map(self._read, some), strict=True):
                        self._keep(path, found)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> DecodedFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def found(self) -> Any:
        """What was found, of JSON's types."""
        return _FACTS.dump_python(
            [(found.digest, found.stats, found.error) for found in self._found.values()], mode="json"
        )

    def know(self, paths: Iterable[Path], found: Any) -> None:
        """Take what others have found of files, in the order of those."""
        for path, (digest, stats, error) in zip(paths, _FACTS.validate_python(found), strict=True):
            self._found.setdefault(path, _Found(digest, stats, None, error))

    def dataset(self, items: Sequence[ImageItem]) -> ImageDataset:
        """Some of the items as a dataset that decodes nothing."""
        return ImageDataset(items, self._spec, self.pixels)

    def digest(self, path: Path) -> str:
        """The file's sha256, in hexadecimal digits.

        Raises:
            DataError: it could not be opened.
        """
        found = self._found[path]
        if not found.digest:
            raise DataError(found.error)
        return found.digest

    def is_usable(self, path: Path) -> bool:
        """Whether the file is an image that the model takes."""
        return not self._found[path].error

    def stats(self, path: Path) -> FrameStats:
        """What the frame looks like.

        Raises:
            DataError: the file is not usable.
        """
        found = self._found[path]
        if found.stats is None:
            raise DataError(found.error)
        return found.stats

    def pixels(self, path: Path) -> Image:
        """The model-size uint8 BGR pixels.

        Raises:
            DataError: the file is not usable.
        """
        if self._found[path].error:
            raise DataError(self._found[path].error)
        if path not in self._rows:  # somebody else read it for what it is
            return decoded(path, self._spec)[0]
        size = int(np.prod(self._shape))
        with self._lock:
            self._file.seek(self._rows[path] * size)
            data = self._file.read(size)
        return np.frombuffer(data, np.uint8).reshape(self._shape).copy()

    def _read(self, path: Path) -> _Found:
        digest = ""
        try:
            data = file_bytes(path)
            digest = hashlib.sha256(data).hexdigest()
            image, frame = decoded(path, self._spec, data)
        except DataError as error:
            return _Found(digest, None, None, str(error))
        return _Found(digest, measure(image, frame), image, "")

    def _keep(self, path: Path, found: _Found) -> None:
        if found.pixels is not None:
            self._rows[path] = len(self._rows)
            try:
                self._file.write(np.ascontiguousarray(found.pixels).tobytes())
            except OSError as error:
                raise DataError(
                    f"The pixels of {path} cannot be kept in a temporary file ({error.strerror}); make room for it, "
                    "or name another folder for such files in TMPDIR."
                ) from None
        self._found[path] = replace(found, pixels=None)
