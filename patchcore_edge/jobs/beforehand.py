"""What is wrong with the words of a command, said before its data are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from patchcore_edge_runtime.errors import ConfigError, DataError
from patchcore_edge_runtime.path_text import path_from_text

from ..data.lists import is_there
from ..engine import resolve_device
from ..models.feature_extractor import known_layers, layer_strides
from ..models.weights import weights_file
from ..runs.facts import RunFacts

__all__ = ["require_layers", "require_means", "require_patches", "training_data"]

_LEAST_SIDE = 4
"""Patches: below, each is a large part of the picture, and what it shows is the part as a whole."""


def require_means(backbones: Iterable[str], weights: str | None, device: str) -> None:
    """Raise where there is no such backbone or device, or this machine has no weights.

    Args:
        backbones: timm names.
        weights: see ``weights_file``.
        device: torch's name, or ``auto``.

    Raises:
        ConfigError: timm or torch does not have it.
        DataError: there are no weights.
    """
    resolve_device(device)
    for backbone in backbones:
        layer_strides(backbone)
        weights_file(backbone, weights)


def require_layers(backbone: str, layers: Sequence[str]) -> None:
    """Raise where a backbone has no layer of a name.

    Raises:
        ConfigError: it has not, or none is named.
    """
    known_layers(layers, list(layer_strides(backbone)), backbone)


def require_patches(backbone: str, layers: Sequence[str], size: tuple[int, int], patch_stride: int | None) -> None:
    """Raise where pictures of a size have too few patches to find anything by.

    Args:
        backbone: timm name.
        layers: of it; one that it does not have is not this function's concern.
        size: height and width in pixels.
        patch_stride: pixels from patch to patch; the first layer's when None.

    Raises:
        ConfigError: a side has fewer than four patches.
    """
    strides = layer_strides(backbone)
    known = [strides[layer] for layer in layers if layer in strides]
    stride = patch_stride or min(known, default=1)
    rows, columns = (-(-side // stride) for side in size)
    if min(rows, columns) < _LEAST_SIDE:
        least = _LEAST_SIDE * stride
        raise ConfigError(
            f"Pictures of {size[0]}x{size[1]} pixels have {rows}x{columns} patches of {stride} pixels, too few to find "
            f"a defect by; let both sides have {least} pixels or more, or leave the size to the photos."
        )


def training_data(run: Path, facts: RunFacts) -> Path:
    """The data that a run was fitted on.

    Raises:
        DataError: they are not where they were.
    """
    for text in (facts.train_place, facts.train_data):
        place = Path(path_from_text(text))
        if text and is_there(place):
            return place
    raise DataError(f"{run} was trained on {facts.train_place or facts.train_data}, which is not there; give --data.")
