"""What a frame costs before anything is compiled: enough to order recipes by their time."""

from __future__ import annotations

from functools import cache

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ..models.feature_extractor import TimmFeatureExtractor
from .recipe import Recipe, View

__all__ = ["operations"]


@cache
def _network(view: View) -> tuple[float, dict[str, int]]:
    """Operations of the network for a frame, and the length of each layer's features; no pixel is looked at."""
    extractor = TimmFeatureExtractor(view.backbone, view.layers, pre_trained=False, image_size=view.image_size)
    tensors = [*extractor.named_parameters(), *extractor.named_buffers()]
    shapes = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    with FlopCounterMode(display=False) as counter:
        functional_call(extractor, shapes, (torch.empty(1, 3, *view.image_size, device="meta"),))
    return float(counter.get_total_flops()), dict(extractor.out_dims)


def operations(recipe: Recipe) -> float:
    """Of a frame: the network's, and those of a search that compares each patch with the whole bank."""
    view = recipe.layout.view
    network, lengths = _network(view)
    patches = -(-view.image_size[0] // view.patch_stride) * -(-view.image_size[1] // view.patch_stride)
    features = sum(lengths[layer] for layer in recipe.layout.layers)
    pca = recipe.layout.pca
    # How many dimensions a share of the variance keeps is known after the fit; half is what it often is.
    kept = features if pca is None else min(pca.dimensions, features) if pca.dimensions >= 1 else features / 2
    projection = 0 if pca is None else 2 * patches * features * kept
    return network + projection + 2 * patches * recipe.bank_size * kept
