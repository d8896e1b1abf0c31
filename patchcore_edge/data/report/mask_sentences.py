"""What a report says of masks."""

from __future__ import annotations

from collections.abc import Iterator

from .masks import MaskFacts
from .names import Names, plural
from .sentences import Sentences

__all__ = ["mask_sentences"]

_LISTS = (
    "missing",
    "left_over",
    "by_number",
    "beside",
    "turned",
    "doubtful",
    "unreadable",
    "empty",
    "on_good",
    "mostly",
    "soft",
)


def mask_sentences(masks: MaskFacts, names: Names) -> Sentences:
    """Masks found, missing, left over, not fitting, and marking what they should not."""
    facts = {name: names.all(getattr(masks, name)) for name in _LISTS}
    found = {"defective": masks.defective, "found": masks.found, "misfits": masks.misfits, **facts}
    if not masks.defective and not masks.left_over:
        return Sentences([], list(_doubts(masks, names)), {"masks": found})
    text = f"{masks.found} of {plural(masks.defective, 'defective image has one', 'defective images have one')}"
    for paths, what in (
        (masks.beside, "beside their photos"),
        (masks.by_number, "found by their numbers alone"),
        (masks.turned, "turned by EXIF with their photos"),
        (masks.soft, "with soft edges, of which more than half counts"),
    ):
        text += f"; {len(paths)} {what} ({names.few(paths)})" if paths else ""
    return Sentences([("masks", text)], list(_doubts(masks, names)), {"masks": found})


def _doubts(masks: MaskFacts, names: Names) -> Iterator[str]:
    # Where there are no masks at all none is expected.
    missing = masks.missing if masks.found or masks.left_over else []
    for paths, one, many in (
        (missing, "defective image has no mask", "defective images have no mask"),
        (masks.left_over, "mask is called like no image", "masks are called like no image"),
        (masks.unreadable, "image has a mask that cannot be read", "images have masks that cannot be read"),
        (masks.empty, "defective image has a mask that marks nothing", "defective images have masks that mark nothing"),
        (masks.on_good, "good image has a mask that marks something", "good images have masks that mark something"),
        (
            masks.mostly,
            "mask marks more than half of its photo: does black mark, and white not?",
            "masks mark more than half of their photos: does black mark, and white not?",
        ),
    ):
        if paths:
            yield f"{plural(len(paths), one, many)} ({names.few(paths)})."
    if masks.misfits:
        rest = f"; so it is with {len(masks.misfits)} masks" if len(masks.misfits) > 1 else ""
        yield f"{masks.misfits[0].rstrip('.')}{rest}."
    if masks.doubtful:
        yield (
            f"{plural(len(masks.doubtful), 'mask')} would fit EXIF-turned photos as stored and as turned "
            f"({names.few(masks.doubtful)}); they are taken as drawn on the upright photo."
        )
