"""Imports of torch and timm without looking for garbage in them."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["gc_paused"]


@contextmanager
def gc_paused() -> Iterator[None]:
    """For imports of torch and timm: a million objects, none of them garbage, that need no looking through.

    Neither now, which takes a quarter of the import's time, nor at the process's end, which takes half a second.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
