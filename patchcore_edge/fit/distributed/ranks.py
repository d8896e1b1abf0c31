"""The processes that share one job, each of which holds a stretch of the images.

All of them run the same program in the same order. What depends on all images is exchanged here, so that each process
comes to the same result; where one process would have it otherwise (a clock, a file of its own), the first one's word
counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["Ranks", "ranks", "sharing"]


class Ranks:
    """This process among those of its job; a job of one process exchanges nothing.

    Every method that exchanges is called by all processes, in the same order.

    Args:
        rank: number of this process.
        size: how many there are.
        local_size: how many of them are on this machine.
        lost: is called when an exchange fails, and does not return.

    Attributes:
        exchanged: bytes that this process has given to exchanges.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, local_size: int = 1, lost: Callable[[], NoReturn] | None = None
    ) -> None:
        self.rank, self.size, self.local_size = rank, size, local_size
        self._lost = lost
        self.exchanged = 0

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that speaks and writes."""
        return self.rank == 0

    def stretch(self, count: int, rank: int | None = None) -> range:
        """Which of ``count`` things in order are this process's, or another's; sizes differ by one at most."""
        place = self.rank if rank is None else rank
        return range(count * place // self.size, count * (place + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes of tensors of one shape."""
        if self.size == 1:
            return tensor
        whole = tensor.contiguous().clone()
        self._do(lambda: dist.all_reduce(whole), whole)
        return whole

    def gather(self, tensor: Tensor) -> Tensor:
        """What all processes have behind one another, in their order.

        Args:
            tensor: ``[n, ...]``, with an n of each process's own.
        """
        if self.size == 1:
            return tensor
        own = tensor.contiguous()
        kind = own.dtype
        own = own.to(torch.uint8) if kind is torch.bool else own
        counts = torch.zeros(self.size, dtype=torch.int64)
        counts[self.rank] = len(own)
        counts = self.sum(counts)
        padded = own.new_zeros((int(counts.max()), *own.shape[1:]))
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        self._do(lambda: dist.all_gather(parts, padded), padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts.tolist(), strict=True)]).to(kind)

    def from_first(self, tensor: Tensor) -> Tensor:
        """What the first process has: ``[n]`` of any n, with the others' dtype and device."""
        if self.size == 1:
            return tensor
        length = torch.tensor([len(tensor)])
        self._do(lambda: dist.broadcast(length, 0), length)
        whole = tensor.contiguous() if self.is_first else tensor.new_empty(int(length))
        self._do(lambda: dist.broadcast(whole, 0), whole)
        return whole

    def values(self, own: Any) -> list[Any]:
        """What each process has, of JSON's types, in their order."""
        if self.size == 1:
            return [own]
        text = torch.frombuffer(bytearray(json.dumps(own).encode()), dtype=torch.uint8)
        lengths = self.gather(torch.tensor([len(text)])).tolist()
        parts = torch.split(self.gather(text), lengths)
        return [json.loads(part.numpy().tobytes()) for part in parts]

    def first_value(self, own: Any) -> Any:
        """What the first process has, of JSON's types."""
        if self.size == 1:
            return own
        text = torch.frombuffer(bytearray(json.dumps(own if self.is_first else 0).encode()), dtype=torch.uint8)
        return json.loads(self.from_first(text).numpy().tobytes())

    def by_first(self, work: Callable[[], Any]) -> Any:
        """What the first process's work gives, of JSON's types, once it is done: what it wrote, all find."""
        return self.first_value(work() if self.is_first else None)

    def _do(self, exchange: Callable[[], Any], given: Tensor) -> None:
        self.exchanged += given.nbytes
        try:
            exchange()
        except RuntimeError:  # what every backend raises when another process is gone
            if self._lost is None:
                raise
            self._lost()


_ALONE = Ranks()
_sharing: list[Ranks] = [_ALONE]


def ranks() -> Ranks:
    """Those of the job that this process works on now."""
    return _sharing[-1]


@contextmanager
def sharing(job: Ranks) -> Iterator[Ranks]:
    """Work on a job that these processes share."""
    _sharing.append(job)
    try:
        yield job
    finally:
        _sharing.pop()
