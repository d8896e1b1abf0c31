"""Steps that take long, each a bar on a terminal that says what it is and how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import Generic, TypeVar

from tqdm import tqdm

__all__ = ["Shown"]

_T = TypeVar("_T")


class Shown(Generic[_T]):
    """Items that show how many of them were taken, each time anew that somebody goes through them.

    Args:
        items: what is gone through.
        what: is done with them.
        unit: what one is called.
    """

    def __init__(self, items: Iterable[_T], what: str, unit: str = "image") -> None:
        self._items, self._what, self._unit = items, what, unit

    def __iter__(self) -> Iterator[_T]:
        total = len(self._items) if isinstance(self._items, Sized) else None
        with tqdm(total=total, desc=self._what, unit=self._unit, disable=None) as bar:
            for item in self._items:
                yield item
                bar.update()

    def __len__(self) -> int:
        assert isinstance(self._items, Sized)
        return len(self._items)
