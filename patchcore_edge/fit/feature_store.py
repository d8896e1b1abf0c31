"""Where the features of the training images wait for the coreset: in memory, in a file, or in both.

A file has two uses: it holds a pool that memory does not, and an interrupted fit goes on from it. The folder holds

features.bin     rows of float16 or float32, image after image
progress.jsonl   a header, then one line per batch of images that ``features.bin`` is sure to hold
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from patchcore_edge_runtime.errors import CheckpointError, ConfigError, cannot_write

from ..models.k_center_greedy import Pool

__all__ = ["FeatureFile", "FeatureStore", "StoreHeader", "locked", "stored_bytes", "stored_header"]

_FEATURES, _PROGRESS, _LOCK = "features.bin", "progress.jsonl", "lock"


@dataclass(frozen=True)
class StoreHeader:
    """What rows mean; a store with another header is not resumed.

    Attributes:
        fingerprint: of the images and of everything that decides their features.
        patches: rows per image, those of its augmented copies included.
        dimensions: of a row.
        dtype: ``float16`` or ``float32``; a store that is gone on with keeps its own.
    """

    fingerprint: str
    patches: int
    dimensions: int
    dtype: str


class FeatureFile:
    """Rows in a file as a pool: reads what is asked for and keeps nothing.

    Not by a memory map: its pages would count as this process's memory.
    """

    def __init__(self, path: Path, rows: int, dimensions: int, dtype: str) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.shape = (rows, dimensions)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """The rows of a slice without a step, or of an array of indices, copied from the file."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(len(self))
            return self._read(start, max(stop - start, 0))
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        # Row by row: a kernel may map megabytes around each touched row of a memory map.
        with self.path.open("rb", buffering=0) as file:
            for place, row in enumerate(rows):
                file.seek(int(row) * found[0].nbytes)
                if file.readinto(found[place].view(np.uint8)) != found[0].nbytes:
                    raise self._short()
        return found

    def _read(self, start: int, count: int) -> NDArray[Any]:
        width = self.shape[1]
        values = np.fromfile(self.path, self.dtype, count * width, offset=start * width * self.dtype.itemsize)
        if values.size != count * width:
            raise self._short()
        return values.reshape(count, width)

    def _short(self) -> CheckpointError:
        return CheckpointError(f"{self.path} is shorter than it was; delete {self.path.parent} and train again.")


class FeatureStore:
    """Collects features batch by batch.

    Args:
        header: what the rows mean.
        capacity: images at most.
        in_memory: hold the rows in memory, as float32.
        folder: hold them in a file there as well, or only there; an interrupted store with the same header is gone
            on with, another one is replaced. Needed unless ``in_memory``.

    Attributes:
        images: positions of the images in the list of training images, in the order of their rows.
        folder: the same.

    Raises:
        ConfigError: neither memory nor a folder was given.
        CheckpointError: another process is filling the folder, or it cannot be written.
    """

    def __init__(self, header: StoreHeader, capacity: int, in_memory: bool, folder: Path | None = None) -> None:
        if folder is None and not in_memory:
            raise ConfigError("Features that are not kept in memory need a folder.")
        self.header = header
        self.images: list[int] = []
        self.folder = folder
        rows = capacity * header.patches
        self._rows = torch.empty(rows, header.dimensions) if in_memory else None
        self._writer = ThreadPoolExecutor(1, "features")
        self._written: Future[None] | None = None
        self._lock: FileLock | None = None
        if folder is not None:
            self._open(folder)

    @property
    def own_images(self) -> list[int]:
        """Those of ``images`` whose rows this process has: all of them."""
        return self.images

    @property
    def next_image(self) -> int:
        """Position of the first image that is still to come."""
        return self.images[-1] + 1 if self.images else 0

    def append(self, images: list[int], rows: Tensor) -> None:
        """Add the rows of some images, in the order of the images.

        A file is written while the next rows are made; what goes wrong there is raised by the next call.

        Args:
            images: positions in the list of training images, rising.
            rows: ``[len(images) * patches, dimensions]`` float32, on any device; not to be changed afterwards.

        Raises:
            ConfigError: a value is not finite, or too large for float16.
            CheckpointError: the folder cannot be written.
        """
        rows = rows.cpu()
        with np.errstate(over="ignore"):
            values = rows.numpy().astype(self.header.dtype, copy=False)
        if not np.isfinite(values).all():
            raise ConfigError(
                f"The backbone's features are not finite in {self.header.dtype}; "
                "check the weights, or raise --memory-limit so that float32 fits."
            )
        if self._rows is not None:
            start = len(self.images) * self.header.patches
            self._rows[start : start + len(rows)] = rows
        if self.folder is not None:
            self._wait()
            self._written = self._writer.submit(self._write, values, images)
        self.images += images

    def pool(self) -> Pool:
        """All rows so far: a tensor when they are in memory, else the file.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        self._wait()
        count = len(self.images) * self.header.patches
        if self._rows is not None:
            return self._rows[:count]
        assert self.folder is not None
        return FeatureFile(self.folder / _FEATURES, count, self.header.dimensions, self.header.dtype)

    def close(self) -> None:
        """Let others go on with the folder."""
        self._writer.shutdown()
        if self._lock is not None:
            self._lock.release()

    def discard(self) -> None:
        """Delete the folder: the fit is done."""
        self._writer.shutdown()
        if self.folder is not None:
            # Before the lock goes, so that nobody else's files are meant; where an open file cannot be deleted, after.
            shutil.rmtree(self.folder, ignore_errors=True)
        self.close()
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / _LOCK).unlink(missing_ok=True)
                self.folder.rmdir()

    def _wait(self) -> None:
        """Until the file holds all rows so far."""
        if self._written is not None:
            done, self._written = self._written, None
            done.result()

    def _open(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = locked(folder)
            self.images = self._resume(folder)
            if not self.images:
                (folder / _FEATURES).write_bytes(b"")
                (folder / _PROGRESS).write_text(json.dumps(asdict(self.header)) + "\n", encoding="utf-8")
        except OSError as error:
            self.close()
            raise cannot_write(folder, error, kind=CheckpointError) from None
        if self._rows is not None and self.images:
            rows = len(self.images) * self.header.patches
            self._rows[:rows] = torch.from_numpy(
                FeatureFile(folder / _FEATURES, rows, self.header.dimensions, self.header.dtype)[:]
            )

    def _resume(self, folder: Path) -> list[int]:
        """Images that the folder surely holds; what was written beyond them is cut off."""
        progress, features = folder / _PROGRESS, folder / _FEATURES
        if not progress.is_file() or not features.is_file():
            return []
        text = progress.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may have been cut short
        stored = _header(lines[0]) if lines else None
        # What memory is free decides the dtype, and may have changed since.
        if stored is None or replace(stored, dtype=self.header.dtype) != self.header:
            return []
        self.header = stored
        images = _images(lines[1:])
        size = len(images) * self.header.patches * self.header.dimensions * np.dtype(self.header.dtype).itemsize
        if features.stat().st_size < size:
            return []
        os.truncate(features, size)
        progress.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        return images

    def _write(self, values: NDArray[Any], images: list[int]) -> None:
        assert self.folder is not None
        try:
            with (self.folder / _FEATURES).open("ab") as file:
                file.write(values.tobytes())
                # Before the line that vouches for them, also when the power fails.
                file.flush()
                os.fsync(file.fileno())
            with (self.folder / _PROGRESS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(images) + "\n")
        except OSError as error:
            remedy = "make room and train again to go on from there"
            raise cannot_write(self.folder, error, remedy, CheckpointError) from None


def stored_bytes(folder: Path) -> int:
    """Bytes of features that a folder holds already."""
    features = folder / _FEATURES
    return features.stat().st_size if features.is_file() else 0


def stored_header(folder: Path) -> StoreHeader | None:
    """Of the features that a folder holds; None where it holds none."""
    try:
        return _header((folder / _PROGRESS).read_text(encoding="utf-8").partition("\n")[0])
    except (OSError, UnicodeDecodeError):
        return None


def _header(line: str) -> StoreHeader | None:
    try:
        return StoreHeader(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _images(lines: list[str]) -> list[int]:
    try:
        return [int(image) for line in lines for image in json.loads(line)]
    except (ValueError, TypeError):
        return []


def locked(folder: Path) -> FileLock:
    """The system's lock on a folder: it goes with its process, whatever that dies of, also in a container.

    Raises:
        CheckpointError: another process has it.
    """
    lock = FileLock(folder / _LOCK, blocking=False)
    try:
        lock.acquire()
    except NotImplementedError:
        raise CheckpointError(f"{folder} is on a file system without locks; give an --output on another.") from None
    except Timeout:
        raise CheckpointError(
            f"Another process is already training into {folder}; wait for it, stop it, or give another --output."
        ) from None
    return lock
