"""Sentences for a person, from jobs that somebody may be watching."""

from __future__ import annotations

from collections.abc import Callable

from ..data import DataModule

__all__ = ["tell_folders", "telling"]


def telling(notify: Callable[[str], None] | None) -> Callable[[str], None]:
    """What passes a sentence on; an empty one is none, and where nobody listens nothing is said."""

    def tell(sentence: str) -> None:
        if notify is not None and sentence:
            notify(sentence)

    return tell


def tell_folders(module: DataModule, say: Callable[[str], None]) -> None:
    """What was left out of the data's folders, and what was taken as what."""
    for sentence in module.describe_folders():
        say(sentence)
