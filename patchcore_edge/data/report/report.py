"""The report of one data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.path_text import path_text
from patchcore_edge_runtime.shown import printable

from ..datamodule import DataModule
from ..digests import FileDigests
from .mask_sentences import mask_sentences
from .masks import look_at_masks
from .names import Names
from .pictures import look_at_pictures
from .sentences import folder_sentences, picture_sentences, role_sentences

__all__ = ["DataReport", "report_data"]

_LABEL_WIDTH = 12


@dataclass(frozen=True)
class DataReport:
    """What a data set is; as a string what a person should know of it, a line for each thing.

    Attributes:
        root: folder or list.
        rows: pairs of a word and what there is to say of it.
        notes: what was guessed, and what is left out as nobody means it to be used, a sentence each.
        doubts: what a person should look at, a sentence each.
        facts: the same for programs: plain values for JSON, with all names.
    """

    root: str
    rows: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    doubts: tuple[str, ...]
    facts: dict[str, Any]

    def __str__(self) -> str:
        doubts = (f"Doubtful: {doubt}" for doubt in self.doubts)
        return "\n".join([self.rows_text, *map(printable, (*self.notes, *doubts))])

    @property
    def rows_text(self) -> str:
        """The rows alone, a line each below the root."""
        rows = (f"  {word:{_LABEL_WIDTH}} {text}" for word, text in self.rows)
        return "\n".join(map(printable, (f"{self.root}:", *rows)))

    def require_clear(self) -> None:
        """Refuse what is doubtful.

        Raises:
            DataError: something is.
        """
        if self.doubts:
            more = f", the first of {len(self.doubts)} doubts" if len(self.doubts) > 1 else ""
            raise DataError(f"{self.root} is doubtful, and --strict stops at that: {self.doubts[0].rstrip('.')}{more}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"root": self.root, **self.facts, "doubts": list(self.doubts)}


def report_data(
    module: DataModule,
    digests: FileDigests | None = None,
    *,
    pixels: bool | None = None,
    decode_masks: bool = True,
) -> DataReport:
    """Look at all images of a data set: at their headers and bytes, and at pixels only where that costs little.

    Args:
        module: the data.
        digests: of its files, where somebody else asks for them too.
        pixels: whether pictures of one size are decoded to find equal pixels in different files; where they are small
            when None.
        decode_masks: look at what masks mark, and not only at their names and sizes.
    """
    everything = {"train": module.train, "validation": module.validation, "test": module.test}
    roles = {role: items for role, items in everything.items() if items}
    items = [item for some in roles.values() for item in some]
    pictures = look_at_pictures([item.path for item in items], digests or FileDigests(), pixels=pixels)
    masks = look_at_masks(items, module.matches, decode=decode_masks)
    names = Names([*(item.path for item in items), *masks.paths])
    parts = (
        role_sentences(roles),
        picture_sentences(roles, pictures, names),
        mask_sentences(masks, names),
        folder_sentences(module),
    )
    return DataReport(
        path_text(module.root),
        tuple(row for part in parts for row in part.rows),
        tuple(note for part in parts for note in part.notes),
        tuple(doubt[0].upper() + doubt[1:] for part in parts for doubt in part.doubts),
        {key: value for part in parts for key, value in part.facts.items()},
    )
