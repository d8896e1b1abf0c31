"""What a model gets to see of photos: found out and said before the work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.images.geometry import Masks, Roi
from patchcore_edge_runtime.images.preprocess import MIN_SIDE, PreprocessSpec
from patchcore_edge_runtime.validation import first_fault

from ..data import ImageItem
from ..data.photo_size import PhotoSizes, photo_sizes
from ..models import Patchcore
from ..models.ignored import ignored_cells
from ..runs.facts import ViewFacts
from .shared import shared_pixel_facts

__all__ = ["Sight", "SightOptions", "found_sight", "look_otherwise", "looked_at"]


@dataclass(frozen=True)
class SightOptions:
    """What can be said of photos and frames.

    Attributes:
        bit_depth: bits that 16-bit pixels use; found over the images when None.
        roi: the part of each frame to look at, as x, y, width, height; the whole frame when None.
        ignore_masks: polygons in fractions of the frame within which nothing counts.
    """

    bit_depth: int | None = None
    roi: Roi | None = None
    ignore_masks: Masks = ()


@dataclass(frozen=True)
class Sight:
    """What the models of some photos look at.

    Attributes:
        photos: sizes of the photos, or of the region that is cut out of them.
        bit_depth, roi, frame_size: see ``PreprocessSpec``.
        ignore_masks: polygons in fractions of the frame within which nothing counts.
    """

    photos: PhotoSizes
    bit_depth: int | None = None
    roi: Roi | None = None
    frame_size: tuple[int, int] | None = None
    ignore_masks: Masks = field(default=())

    def spec(self, size: tuple[int, int]) -> PreprocessSpec:
        """The preprocessing for an input of a height and width in pixels.

        Raises:
            ConfigError: a number that cannot be.
        """
        try:
            facts = {"bit_depth": self.bit_depth, "roi": self.roi, "frame_size": self.frame_size}
            return PreprocessSpec.model_validate({"height": size[0], "width": size[1], **facts})
        except ValidationError as error:
            raise ConfigError(f"--image-size, --bit-depth and --roi: {first_fault(error)}.") from None

    def input_size(self, asked: tuple[int, int] | None, step: int, say: Callable[[str], None]) -> tuple[int, int]:
        """Height and width of the model's input: what was asked for, or what suits the photos; says what it does.

        Args:
            asked: height and width; None for what suits the photos.
            step: what the sides of such a size are multiples of.
            say: takes sentences for a person.
        """
        own = self.photos.input_size(self.photos.default_side, step)
        size, what = asked or own, "region of interest is" if self.roi else "photos are"
        height, width = size
        if asked is None:
            say(
                f"The {what} {self.photos}; the model takes {width}x{height}{_compared(height * width)} "
                "(--image-size changes it)."
            )
        squeezed, seen = self.photos.squeezed(size), len(self.photos.sizes)
        if squeezed:
            # A square for several shapes is the best there is; the shape that one shape has is better.
            better = (
                f"; --image-size auto would keep their shape with {own[0]}x{own[1]}, "
                f"{own[0] * own[1] / (height * width):.2g} times the work"
                if asked is not None and self.photos.squeezed(own) < squeezed
                else ""
            )
            say(
                f"{height}x{width} (height x width) squeezes {squeezed} of {seen} pictures that were looked at by more "
                f"than a third in one direction (they are {self.photos}){better}."
            )
        return size


def found_sight(items: Sequence[ImageItem], options: SightOptions, say: Callable[[str], None]) -> Sight:
    """Look at training images: their sizes, bits, transparency, and whether a region fits them.

    Args:
        items: what a fit and its calibration are from.
        options: what was said of them.
        say: takes sentences for a person.

    Raises:
        DataError: none of the images can be read, or the region of interest fits none of them.
        ConfigError: the ignore masks leave nothing, or where they lie in the region is not known.
    """
    paths = [item.path for item in items]
    photos = photo_sizes(paths)
    if photos is None:
        raise DataError("None of the images can be read; give photos of good parts.")
    if min(photos.height, photos.width) < MIN_SIDE:
        least = f"{MIN_SIDE}x{MIN_SIDE}"
        raise DataError(f"Most photos have fewer than {least} pixels; give photos in which a part can be seen.")
    pixels = shared_pixel_facts(paths)
    depth = options.bit_depth or pixels.bit_depth
    for sentence in pixels.sentences(depth):
        say(sentence)
    if options.roi is None:
        sight = Sight(photos, depth, ignore_masks=options.ignore_masks)
    else:
        sight = Sight(_region(photos, options.roi, say), depth, options.roi, _one_size(photos), options.ignore_masks)
    size = sight.photos.height, sight.photos.width
    hidden = ignored_cells(sight.ignore_masks, sight.spec(size), size)
    if sight.ignore_masks:
        share = 0.0 if hidden is None else float(hidden.mean())
        say(f"{share:.0%} of the picture is ignored: it is in no bank, in no score and in no threshold.")
    return sight


def look_otherwise(
    model: Patchcore, options: SightOptions | None, items: Sequence[ImageItem], what: str, say: Callable[[str], None]
) -> ViewFacts | None:
    """Have a fitted model look at what was asked for; says how that differs from what it was fitted on.

    What its bank has not seen stays ignored: there is nothing to compare it with.

    Args:
        model: of a run, as it was fitted or calibrated.
        options: what of a frame is to count; as it is where nothing is said.
        items: images that it is about to look at.
        what: is made of them: ``thresholds``, ``figures``.
        say: takes a sentence for a person.

    Returns:
        what counts now; None where that is as it was.

    Raises:
        ConfigError: the ignore masks leave nothing, or where they lie in the region is not known.
    """
    spec = model.pre_processor.spec
    options = options or SightOptions()
    roi = options.roi or spec.roi
    masks = model.ignore_masks + tuple(mask for mask in options.ignore_masks if mask not in model.ignore_masks)
    if roi == spec.roi and masks == model.ignore_masks:
        return None
    photos = photo_sizes([item.path for item in items])
    other = spec.looking_at(roi, None if photos is None else _one_size(photos))
    say(
        f"The run looks at {_described(spec.roi, model.ignore_masks)}; these {what} are for {_described(roi, masks)}. "
        "What counts no more is still in its memory bank: `train` with the same --roi and --ignore-mask leaves it out."
    )
    model.look_at(other, masks)
    return ViewFacts(roi=other.roi, frame_size=other.frame_size, ignore_masks=masks)


def looked_at(model: Patchcore) -> str:
    """What of a frame a model looks at, and what 16 bits are to it, in a few words."""
    spec = model.pre_processor.spec
    depth = f", {spec.bit_depth} bits" if spec.bit_depth is not None else ""
    return f"{_described(spec.roi, model.ignore_masks)}{depth}"


def _described(roi: Roi | None, masks: Masks) -> str:
    where = "whole pictures" if roi is None else f"the region {','.join(map(str, roi))}"
    return f"{where} with {len(masks)} ignore mask{'s' if len(masks) != 1 else ''}" if masks else where


def _one_size(photos: PhotoSizes) -> tuple[int, int] | None:
    return photos.sizes[0] if len(set(photos.sizes)) == 1 else None


def _region(photos: PhotoSizes, roi: Roi, say: Callable[[str], None]) -> PhotoSizes:
    x, y, width, height = roi
    outside = sum(x + width > photo[1] or y + height > photo[0] for photo in photos.sizes)
    if outside == len(photos.sizes):
        raise DataError(f"The region of interest {x},{y},{width},{height} does not fit the photos, which are {photos}.")
    if _one_size(photos) is None:
        say(
            f"The photos are of several sizes, and --roi {x},{y},{width},{height} is another part of each"
            + (f"; it does not fit {outside} of {len(photos.sizes)} that were looked at." if outside else ".")
        )
    return PhotoSizes(height, width, one_shape=True, sizes=((height, width),))


def _compared(pixels: int) -> str:
    """How much work so many pixels are, where they are not the usual ones."""
    return "" if pixels == 256**2 else f", {pixels / 256**2:.2g} times the work of 256x256"
