"""The graph: pixels in, raw score and map out. A wrapper for export only; the model it wraps stays as it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from patchcore_edge.models import Patchcore, PatchcoreModel
from patchcore_edge.models.score_rule import ruled_scores
from patchcore_edge.models.upsampling import upsampling
from patchcore_edge_runtime.bundle.recipe import ScoreRule
from patchcore_edge_runtime.errors import ConfigError

from .exact_search import ExactSearch, SearchResult
from .fast_search import FastPlan, FastSearch
from .peak_smoothing import peak_smoothing

__all__ = ["EdgeModel"]


class EdgeModel(nn.Module):
    """A fitted PatchCore as one graph without thresholds.

    Args:
        fitted: a model with a memory bank.
        plan: of the coarse-to-fine search; exact distances for every patch without one.
    """

    mean: Tensor
    minus_center: Tensor
    neighborhoods: Tensor
    rows: Tensor
    columns: Tensor
    minus_space_mean: Tensor
    space_axes: Tensor

    def __init__(self, fitted: Patchcore, plan: FastPlan | None = None) -> None:
        super().__init__()
        model = fitted.model
        height, width = fitted.pre_processor.spec.input_size
        self.register_buffer("mean", fitted.pre_processor.mean.flip(1))
        self.backbone = _with_pixels_folded_in(model, fitted.pre_processor.std)
        self.rule = model.score
        self.register_buffer("minus_space_mean", -model.space_mean.reshape(1, 1, -1))
        self.register_buffer("space_axes", model.space_axes.clone())
        grid = model.patch_grid((height, width))
        self.register_buffer("rows", upsampling(model.anomaly_map_generator, grid[0], height))
        self.register_buffer("columns", upsampling(model.anomaly_map_generator, grid[1], width).T.contiguous())
        self.search = _search(model, plan, grid, (height, width))
        # With its sign turned, as converters add what is subtracted and would name it as they like.
        self.register_buffer("minus_center", -self.search.center.reshape(1, 1, -1))
        self.register_buffer("neighborhoods", _neighborhoods(model))
        self.eval()

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """``[N,H,W,3]`` uint8 BGR → ``pred_score`` ``[N]`` and ``anomaly_map`` ``[N,1,H,W]``, float32, raw."""
        images = frame.permute(0, 3, 1, 2).float() - self.mean
        features = self.backbone.embed(images)
        batch, dimension, height, width = features.shape
        patches = features.reshape(batch, dimension, height * width).transpose(1, 2)
        if len(self.space_axes):
            patches = (patches + self.minus_space_mean) @ self.space_axes
        result: SearchResult = self.search(patches + self.minus_center)
        anomaly_map = self.rows @ result.distances.reshape(batch, 1, height, width) @ self.columns
        return self._score(result, anomaly_map), anomaly_map

    def _score(self, result: SearchResult, anomaly_map: Tensor) -> Tensor:
        if self.rule is not ScoreRule.REFERENCE:
            return ruled_scores(self.rule, result.exact, anomaly_map, result.distances.shape[1])
        # Eq. 7 for the worst patch of each image; the neighbourhoods of the bank's vectors are tabled.
        if self.neighborhoods.shape[1] < 2:
            return result.worst
        support = self.search.vectors(embedding(result.neighbor, self.neighborhoods))
        near = (result.patch.unsqueeze(1) - support).square().sum(2).sqrt()
        return result.worst * (1 - near.softmax(1)[:, 0])


def _search(
    model: PatchcoreModel, plan: FastPlan | None, grid: tuple[int, int], size: tuple[int, int]
) -> ExactSearch | FastSearch:
    counted = ~model.ignored if len(model.ignored) else None
    if plan is None:
        return ExactSearch(model.memory_bank, counted)
    return FastSearch(model.memory_bank, plan, peak_smoothing(model, grid, size), counted)


def _with_pixels_folded_in(model: PatchcoreModel, std: Tensor) -> PatchcoreModel:
    """A copy whose first convolution takes BGR pixels less their mean: channel order and 1/std are in its weights.

    The mean stays a subtraction: folded into a bias it would be wrong at the border, where the padding's zeros
    stand for the mean.
    """
    model = copy.deepcopy(model)
    model.memory_bank = torch.empty(0)
    network = model.feature_extractor.network
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != 3 or first.groups != 1:
        raise ConfigError(f"{model.backbone} does not begin with a convolution of RGB pixels; choose another backbone.")
    first.weight = nn.Parameter((first.weight / std).flip(1), requires_grad=False)
    return model.eval()


def _neighborhoods(model: PatchcoreModel) -> Tensor:
    """``[M, b]`` indices of the bank vectors around each bank vector, itself first; ``[M, 1]`` without eq. 7."""
    bank = model.memory_bank
    if model.score is not ScoreRule.REFERENCE or model.num_neighbors == 1 or len(bank) == 1:
        return torch.zeros(len(bank), 1, dtype=torch.int64)
    return model.nearest_neighbors(bank, model.num_neighbors)[1]
