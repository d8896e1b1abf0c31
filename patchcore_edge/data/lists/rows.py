"""From labelled rows, of a list or of shards, to images in splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..good_names import GOOD, good_among
from ..splits import split_name

__all__ = ["SPLITS", "default_split", "good_labels"]

SPLITS = ("train", "validation", "test")


def good_labels(name: str, where: str, labels: Collection[str], chosen: Sequence[str]) -> tuple[list[str], list[str]]:
    """The labels of good parts, and what to say of them.

    Args:
        name: of the data.
        where: the labels are, for errors.
        labels: of all rows that have one; none make no good ones.
        chosen: what ``--good`` says.

    Raises:
        DataError: no label is known to be that of good parts, or several are.
    """
    if not labels:
        return [], []
    found = good_among(sorted(labels), chosen, where, "leave it empty where parts are good")
    spelled = " and ".join(found)
    return found, [] if found == [GOOD] else [f"{name}: parts labelled {spelled} are taken as the good parts."]


def default_split(split: str, label: str) -> str:
    """The split of a row by our name; where it says none, good images train and others test."""
    return split_name(split or ("train" if label == GOOD else "test"))
