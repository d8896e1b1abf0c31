"""From the words of a command line to values, and sentences to people."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer
from pydantic import ValidationError

from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions, PcaOptions
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.geometry import Masks, Roi, parse_polygon, parse_roi
from patchcore_edge_runtime.validation import first_fault

__all__ = [
    "as_data",
    "as_masks",
    "as_roi",
    "names_in",
    "note",
    "parse_augment",
    "parse_depth",
    "parse_outliers",
    "parse_pca",
    "parse_side",
    "parse_size",
    "warn",
]


def as_data(text: str) -> Path:
    """Where data is: a path, or the path that stands for a URL."""
    if "://" not in text:
        return Path(text)
    # What it is in imports torch.
    from ..data import data_path

    return data_path(text)


def note(sentence: str) -> None:
    """To people, who read it beside a JSON answer too."""
    typer.echo(sentence, err=True)


def warn(sentence: str) -> None:
    """What a person has to know."""
    typer.echo(f"Warning: {sentence}", err=True)


def names_in(text: str) -> tuple[str, ...]:
    """The names of a comma-separated set; one that is named twice counts once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def parse_side(text: str) -> int:
    """Pixels; raises ``ConfigError``."""
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigError(f"--sizes has {text!r}; give sides in pixels, such as 256,384.")


def parse_pca(dimensions: float | None, whitening: float) -> PcaOptions | None:
    """What ``--pca`` and ``--whitening`` ask for; raises ``ConfigError``."""
    if dimensions is None:
        if whitening:
            raise ConfigError("--whitening needs --pca; add --pca 0.99, say.")
        return None
    try:
        return PcaOptions.model_validate({"dimensions": dimensions, "whitening": whitening})
    except ValidationError as error:
        raise ConfigError(f"--pca and --whitening: {first_fault(error)}.") from None


def parse_augment(kinds: str | None, copies: int | None) -> AugmentOptions | None:
    """What ``--augment`` and ``--augment-copies`` ask for; raises ``ConfigError``."""
    if kinds is None:
        if copies is not None:
            raise ConfigError("--augment-copies needs --augment; add --augment brightness,shift, say.")
        return None
    names = names_in(kinds)
    known = [str(kind) for kind in Augmentation]
    if not names or not set(names) <= set(known):
        raise ConfigError(f"--augment is {kinds!r}; give some of {', '.join(known)}, comma separated.")
    try:
        return AugmentOptions.model_validate({"kinds": names} | ({} if copies is None else {"copies": copies}))
    except ValidationError as error:
        raise ConfigError(f"--augment-copies: {first_fault(error)}.") from None


def parse_outliers(text: str) -> Literal["keep", "drop"] | int:
    """What ``--outliers`` asks for; raises ``ConfigError``."""
    if text == "keep":
        return "keep"
    if text == "drop":
        return "drop"
    if text.isdecimal():
        return int(text)
    raise ConfigError(f"--outliers is {text!r}; give keep, drop or a number of images.")


def as_roi(text: str | None) -> Roi | None:
    """A region of interest from ``X,Y,WIDTH,HEIGHT``; raises ``ConfigError``."""
    return None if text is None else parse_roi(text)


def as_masks(texts: list[str] | None) -> Masks:
    """Polygons, each once; raises ``ConfigError``."""
    return tuple(dict.fromkeys(parse_polygon(text) for text in texts or ()))


def parse_depth(text: str | None) -> int | None:
    """A number of bits; raises ``ConfigError``."""
    if text is None or text == "auto":
        return None
    # Here, as it loads OpenCV: what is missing for that is said by a command and not before.
    from patchcore_edge_runtime.images.preprocess import FULL_DEPTH

    if text.isdecimal() and 8 <= int(text) <= FULL_DEPTH:
        return int(text)
    raise ConfigError(f"--bit-depth is {text!r}; give the bits that a pixel has, 8 to {FULL_DEPTH}, such as 12.")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Height and width from ``SIZE`` or ``HEIGHTxWIDTH``; None for ``auto``. Raises ``ConfigError``."""
    if text is None or text.lower() == "auto":
        return None
    parts = text.lower().split("x")
    if len(parts) not in (1, 2) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"--image-size {text!r} is not auto, SIZE or HEIGHTxWIDTH in pixels, such as 224 or 256x384.")
    return int(parts[0]), int(parts[-1])
