"""The features of images that several processes share, each with a store of its own stretch."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import torch

from patchcore_edge_runtime.errors import CheckpointError

from ...models.pool import Pool, ShardedPool
from ..feature_store import FeatureStore, StoreHeader, locked, stored_header
from .ranks import Ranks

__all__ = ["ShardedStore", "require_same_ranks", "store_folder"]


class ShardedStore:
    """What the stores of all processes hold together; made by all of them once theirs are filled.

    Args:
        own: this process's.
        start: position of the first image of its stretch in the list of training images.
        job: the processes.

    Attributes:
        images: positions of all images in the list of training images, in the order of their rows.
        own_images: of those whose rows this process has.
    """

    def __init__(self, own: FeatureStore, start: int, job: Ranks) -> None:
        self._own, self._job = own, job
        self.own_images = [start + image for image in own.images]
        self.images: list[int] = job.gather(torch.tensor(self.own_images, dtype=torch.int64)).tolist()
        self._counts = job.gather(torch.tensor([len(own.images) * own.header.patches])).tolist()

    def pool(self) -> Pool:
        """All rows, of which this process reads its own, and the others' by exchange.

        Raises:
            CheckpointError: this process's folder cannot be written.
        """
        return ShardedPool(self._own.pool(), self._counts, self._job.rank, self._job)

    def discard(self) -> None:
        """Delete the folders: the fit is done."""
        self._own.discard()
        if self._own.folder is not None:
            with suppress(OSError):
                self._own.folder.parent.rmdir()


def store_folder(folder: Path | None, job: Ranks) -> Path | None:
    """Where a process keeps its features; None for nowhere."""
    return folder if folder is None or job.size == 1 else folder / f"{job.rank}-of-{job.size}"


def require_same_ranks(folder: Path, header: StoreHeader, job: Ranks) -> None:
    """See that an interrupted fit is gone on with by as many processes as began it; clear away what fits no more.

    One process after the other looks, as they may share the disk or not.

    Raises:
        CheckpointError: another number of processes began it, or is at it.
    """
    for turn in range(job.size):
        if turn == job.rank:
            _require_same_ranks(folder, header, job)
        job.sum(torch.zeros(1))


def _require_same_ranks(folder: Path, header: StoreHeader, job: Ranks) -> None:
    others = [(1, folder)] if job.size > 1 and (folder / "progress.jsonl").is_file() else []
    for path in folder.glob("*-of-*"):
        count = path.name.rpartition("-of-")[2]
        if path.is_dir() and count.isdecimal() and int(count) != job.size:
            others.append((int(count), path))
    for size, path in others:
        locked(path).release()
        found = stored_header(path)
        if found is not None and found.fingerprint == header.fingerprint and header.fingerprint:
            began = f"{size} processes" if size > 1 else "one process"
            raise CheckpointError(
                f"{folder} holds features of this very fit, which {began} began; call it with as many again to go on, "
                "or delete that folder to begin anew."
            )
        for file in ("features.bin", "progress.jsonl"):
            with suppress(OSError):
                (path / file).unlink()
        if path != folder:
            shutil.rmtree(path, ignore_errors=True)
