"""A recipe's graph, compiled and timed before anything is fitted: what its bank holds changes no time."""

from __future__ import annotations

import torch

from ..data.evenly_spaced import evenly_chosen
from ..fit.distributed.ranks import ranks
from ..jobs.sight import Sight
from ..models import Patchcore
from ..models.feature_space import FeatureSpace
from ..plugins import Meter
from .choice import Cost
from .look import Pictures, view_model
from .options import TuneOptions
from .recipe import Recipe

__all__ = ["timed"]

_SHOWN = 16
"""Images that ranges of INT8 are taken from: times do not depend on them."""


def timed(recipe: Recipe, dimensions: int, pictures: Pictures, meter: Meter, options: TuneOptions) -> dict[str, Cost]:
    """Precision → what a frame costs; those that the device computes in.

    One process measures, while those that it shares the job with wait.

    Args:
        dimensions: of its feature space.
    """
    found = ranks().by_first(lambda: _measured(recipe, dimensions, pictures, meter, options))
    return {name: Cost(*figures) for name, figures in found.items()}


def _measured(
    recipe: Recipe, dimensions: int, pictures: Pictures, meter: Meter, options: TuneOptions
) -> dict[str, tuple[float, float]]:
    model = _stand_in(recipe, dimensions, options.train.weights, pictures.sight)
    dataset = pictures.dataset(evenly_chosen(list(pictures.good), _SHOWN), model.pre_processor.spec)
    images = [dataset.image(place) for place in range(len(dataset))]
    return meter(model, images, options.device)


def _stand_in(recipe: Recipe, dimensions: int, weights: str | None, sight: Sight) -> Patchcore:
    layout = recipe.layout
    model = view_model(layout.view, weights, sight, layout.layers, recipe.score, layout.centering)
    length = model.model.embedding_dim
    generator = torch.Generator().manual_seed(0)
    if layout.pca is not None:
        axes = torch.randn(length, dimensions, generator=generator)
        model.model.feature_space = FeatureSpace(torch.zeros(length), axes)
    model.model.memory_bank = torch.randn(recipe.bank_size, dimensions, generator=generator)
    return model.eval()
