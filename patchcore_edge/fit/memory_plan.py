"""What a fit will need, known before it begins: memory, disk, and the size of the bank."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import psutil

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["FitPlan", "format_bytes", "free_memory", "parse_bytes", "require_disk"]

_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SHARE_OF_FREE = 0.5
_BASE = 5 << 29
"""What torch, OpenVINO, a backbone, a batch of images and a round of the coreset take, rounded up
(``benchmarks/scale_fit.py``)."""
_PER_IMAGE = 5 << 10
"""What each process keeps of every image to find pictures of one part: 1,024 numbers, its name and its digest."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_DISK_RESERVE = 256 << 20


def parse_bytes(text: str) -> int:
    """``4GB``, ``512 MiB`` or ``1.5g`` in bytes; units are powers of 1024.

    Raises:
        ConfigError: it is no positive size.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:I?B)?", text.strip().upper())
    size = int(float(found[1]) * 1024 ** _UNITS[found[2]]) if found else 0
    if size < 1:
        raise ConfigError(f"{text!r} is no size of memory; write it as 500MB or 4GB.")
    return size


def format_bytes(size: float) -> str:
    """Bytes for people: ``3.2 GB``."""
    for unit in ("bytes", "KB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"


def free_memory() -> int:
    """Bytes that this process could still take without swapping, a container's limit included."""
    free = int(psutil.virtual_memory().available)
    # psutil sees the host's memory; in a container less may be ours. Linux only: elsewhere the file is not there.
    if _CGROUP_LIMIT.is_file() and (limit := _CGROUP_LIMIT.read_text().strip()).isdecimal():
        free = min(free, max(int(limit) - int(psutil.Process().memory_info().rss), 0))
    return free


@dataclass(frozen=True)
class FitPlan:
    """A fit's needs.

    Attributes:
        images: to extract.
        patches: of one picture.
        dimensions: of a patch feature.
        bank_size: patches that the coreset keeps.
        copies: augmented ones of each image.
        ranks: processes that share the images.
        local_ranks: of those, the ones that share this machine's memory and disk.
    """

    images: int
    patches: int
    dimensions: int
    bank_size: int
    copies: int = 0
    ranks: int = 1
    local_ranks: int = 1

    @property
    def own_rows(self) -> int:
        """Patches that one process has to hold, the most of any."""
        return -(-self.images // self.ranks) * (1 + self.copies) * self.patches

    @property
    def rows(self) -> int:
        """Patches of all pictures."""
        return self.images * (1 + self.copies) * self.patches

    def fits(self, memory_limit: int | None) -> bool:
        """Whether a process's float32 features fit into so many bytes; into half of what is free for it when None."""
        limit = int(free_memory() * _SHARE_OF_FREE / self.local_ranks) if memory_limit is None else memory_limit
        return self.store_bytes(4) <= limit

    def store_bytes(self, item_size: int) -> int:
        """A process's features with ``item_size`` bytes per number."""
        return self.own_rows * self.dimensions * item_size

    def memory_bytes(self, *, in_memory: bool) -> int:
        """What a process needs in all, with its features in memory or not."""
        bank = self.bank_size * self.dimensions * 4
        # Two floats per patch while the coreset is chosen, and the bank twice while it is put together.
        return (
            _BASE + 8 * self.own_rows + 2 * bank + _PER_IMAGE * self.images + (self.store_bytes(4) if in_memory else 0)
        )

    def describe(self, dtype_on_disk: str | None, disk_bytes: int) -> str:
        """What a person should know before a long fit, in one line.

        Args:
            dtype_on_disk: of features that are only on disk; None when they are in memory.
            disk_bytes: that a file of features takes; 0 for none.
        """
        bank = self.bank_size * self.dimensions * 4
        memory = self.memory_bytes(in_memory=dtype_on_disk is None)
        where = "in memory" if dtype_on_disk is None else f"on disk as {dtype_on_disk}"
        copied, times = "", ""
        each = f" for each of {self.ranks} processes" if self.ranks > 1 else ""
        if self.copies:
            copied = f" with {self.copies} augmented {'copy' if self.copies == 1 else 'copies'} of each"
            times = f", {1 + self.copies} times those of the images alone"
        return (
            f"{self.images:,} images{copied} give {self.rows:,} patches x {self.dimensions}{times}, kept {where}: "
            f"about {format_bytes(memory)} of memory and {format_bytes(disk_bytes)} of disk{each}; "
            f"the bank will hold {self.bank_size:,} patches, {format_bytes(bank)}."
        )


def require_disk(folder: Path, needed: int) -> None:
    """Refuse before the work begins what the disk cannot hold.

    Raises:
        ConfigError: fewer than ``needed`` bytes and a small reserve are free where ``folder`` is or will be.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < needed + _DISK_RESERVE:
        raise ConfigError(
            f"The features need {format_bytes(needed)} of disk, with {format_bytes(_DISK_RESERVE)} to spare, and "
            f"{existing} has {format_bytes(free)} free; "
            "write to another disk, or give fewer images or a smaller --image-size."
        )
