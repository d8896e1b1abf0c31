"""From labelled rows, of a list or of shards, to images in splits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..good_names import GOOD, good_among, sounds_good
from ..splits import split_name

__all__ = ["SPLITS", "GoodLabels", "default_split", "good_labels"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class GoodLabels:
    """Which labels are of good parts.

    Attributes:
        names: as they are written.
        notes: what to say of them, a sentence each.
    """

    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def meant(self, label: str) -> str | None:
        """``good``, also where nothing is written, or the name of a defect; None where it sounds good and is not."""
        if not label or label in self.names:
            return GOOD
        return None if self.names and sounds_good(label) else label


def good_labels(name: str, where: str, labels: Collection[str], chosen: Sequence[str]) -> GoodLabels:
    """Find the labels of good parts.

    Args:
        name: of the data.
        where: the labels are, for errors.
        labels: of all rows that have one; none make no good ones.
        chosen: what ``--good`` says.

    Raises:
        DataError: no label is known to be that of good parts, or several are.
    """
    if not labels:
        return GoodLabels()
    found = tuple(good_among(sorted(labels), chosen, where, "leave it empty where parts are good"))
    spelled = " and ".join(found)
    told = () if found == (GOOD,) else (f"{name}: parts labelled {spelled} are taken as the good parts.",)
    return GoodLabels(found, told)


def default_split(split: str, label: str) -> str:
    """The split of a row by our name; where it says none, good images train and others test."""
    return split_name(split or ("train" if label == GOOD else "test"))
