"""Work ahead of whoever waits for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetch"]

_Item = TypeVar("_Item")


def prefetch(items: Iterator[_Item], depth: int = 2) -> Iterator[_Item]:
    """The same items, up to ``depth`` of them made in a thread while an earlier one is worked on.

    An error in making one is raised where that one would have come.
    """
    end = object()
    with ThreadPoolExecutor(1, "prefetch") as thread:
        coming = deque(thread.submit(next, items, end) for _ in range(depth))
        try:
            while (item := coming.popleft().result()) is not end:
                coming.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for future in coming:
                future.cancel()
