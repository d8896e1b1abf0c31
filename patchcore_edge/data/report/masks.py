"""What there is to know of a data set's masks before anything is measured with them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from patchcore_edge_runtime.errors import DataError

from ..dataset import ImageItem
from ..mask_pixels import Masks
from ..masks import Matches

__all__ = ["MaskFacts", "look_at_masks"]

_MOST = 0.5
"""Share of a photo beyond which a mask looks as if black and white were swapped."""


@dataclass(frozen=True)
class MaskFacts:
    """Of some labelled images; all but the last five need no more than names and headers.

    Attributes:
        defective: how many images are.
        found: defective images that have a mask.
        missing: those that have none.
        left_over: masks that are no image's.
        by_number: images whose mask was found by its number alone.
        misfits: a sentence for each mask of another size than its photo.
        beside: masks that lay among the photos.
        turned: masks that EXIF turns with their photos.
        doubtful: masks that fit photos which EXIF turns either way.
        unreadable: masks that cannot be read.
        empty: defective images whose mask marks nothing.
        on_good: good images whose mask marks something.
        mostly: images whose mask marks more than half.
        soft: images whose mask has values between marked and not.
    """

    defective: int
    found: int
    missing: list[Path]
    left_over: list[Path]
    by_number: list[Path]
    misfits: list[str]
    beside: list[Path]
    turned: list[Path]
    doubtful: list[Path]
    unreadable: list[Path] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)
    on_good: list[Path] = field(default_factory=list)
    mostly: list[Path] = field(default_factory=list)
    soft: list[Path] = field(default_factory=list)

    @property
    def paths(self) -> list[Path]:
        """Masks that may be named."""
        return [*self.left_over, *self.beside, *self.turned, *self.doubtful]


def look_at_masks(items: Sequence[ImageItem], matches: Matches, *, decode: bool) -> MaskFacts:
    """Look at the masks of images.

    Args:
        items: the images.
        matches: how they were found.
        decode: look at what they mark, too.
    """
    masked = [item for item in items if item.mask is not None]
    masks = Masks((item.path, item.mask) for item in masked if item.mask is not None)
    defective = [item for item in items if item.is_defective]
    facts = MaskFacts(
        defective=len(defective),
        found=sum(item.mask is not None for item in defective),
        missing=[item.path for item in defective if item.mask is None],
        left_over=list(matches.left_over),
        by_number=list(matches.by_number),
        misfits=masks.misfits,
        beside=list(matches.beside),
        turned=masks.turned,
        doubtful=masks.doubtful,
    )
    if decode and not facts.misfits:
        _decode(facts, masked, masks)
    return facts


def _decode(facts: MaskFacts, masked: Iterable[ImageItem], masks: Masks) -> None:
    with ThreadPoolExecutor() as threads:
        for item, (share, is_soft) in threads.map(lambda item: (item, _marks(item, masks)), masked):
            if share is None:
                facts.unreadable.append(item.path)
            elif not share and item.is_defective:
                facts.empty.append(item.path)
            elif share and not item.is_defective:
                facts.on_good.append(item.path)
            elif share > _MOST:
                facts.mostly.append(item.path)
            if is_soft:
                facts.soft.append(item.path)


def _marks(item: ImageItem, masks: Masks) -> tuple[float | None, bool]:
    """The share of its photo that a mask marks, None where it cannot be read; and whether it is soft."""
    assert item.mask is not None
    try:
        found = masks.read(item.path, item.mask)
    except DataError:
        return None, False
    return float(found.marked.mean()), found.is_soft
