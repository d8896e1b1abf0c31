"""Another bundle in the place of the one that a line uses, whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..atomic_folder import atomic_folder
from ..errors import BundleError, ConfigError, cannot_write
from .bundle import MANIFEST, Bundle

__all__ = ["Swap", "swap_bundle"]


@dataclass(frozen=True)
class Swap:
    """What was exchanged.

    Attributes:
        before: the bundle that was there; None where there was none, or none that could be read.
        after: the bundle that is there now.
        kept: where the one before is now; None where there was none.
    """

    before: Bundle | None
    after: Bundle
    kept: Path | None


def swap_bundle(new: Path, place: Path) -> Swap:
    """Put a copy of a bundle in a place; where the place is a link, let it point to the bundle.

    The bundle that was there is kept: under the place's name with ``.previous``, in place of the one kept before, or
    where the link pointed to.

    Args:
        new: folder of a bundle; it stays where it is.
        place: folder of a bundle, or a link to one; may be absent.

    Raises:
        BundleError: ``new`` is no whole bundle.
        ConfigError: both are the same, the place is something else than a bundle, or cannot be written.
    """
    after = Bundle.load(new)
    if place.exists() and place.samefile(new):
        raise ConfigError(f"{new} is what {place} is already; give another bundle.")
    before = None
    with suppress(BundleError):
        before = Bundle.load(place)
    if place.is_symlink():
        kept = place.resolve() if place.exists() else None
        _point(place, new.resolve())
        return Swap(before, after, kept)
    kept = place.with_name(f"{place.name}.previous") if (place / MANIFEST).is_file() else None
    with atomic_folder(place, MANIFEST) as fresh:
        try:
            after.copy_to(fresh)
        except OSError as error:
            raise cannot_write(place, error) from None
        Bundle.load(fresh)
        # Only now: it may be the one kept before that is swapped in.
        if kept is not None:
            with atomic_folder(kept, MANIFEST) as aside:
                shutil.copytree(place, aside, dirs_exist_ok=True)
    return Swap(before, Bundle.load(place), kept)


def _point(link: Path, target: Path) -> None:
    """In one step: at no moment is there no bundle, and never does the new link come into the old folder."""
    fresh = link.with_name(f".{link.name}.{uuid.uuid4().hex[:8]}")
    try:
        fresh.symlink_to(target)
        os.replace(fresh, link)  # noqa: PTH105 - Path.replace says the same of links
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise cannot_write(link, error) from None
