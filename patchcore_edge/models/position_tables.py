"""Tables of positions in a transformer's weights, brought from one grid of patches to another by timm's functions."""

from __future__ import annotations

import logging
from math import isqrt, prod
from typing import Any

from timm.layers import resample_abs_pos_embed, resample_abs_pos_embed_nhwc, resize_rel_pos_bias_table_simple
from torch import Tensor, nn

__all__ = ["is_position_table", "resampled"]

_ABSOLUTE = "pos_embed"
_RELATIVE = "relative_position_bias_table"

_log = logging.getLogger(__name__)

Grid = tuple[int, int]


def is_position_table(network: nn.Module, name: str) -> bool:
    """Whether a tensor of a network says something about positions that ``resampled`` can bring to another grid."""
    return _grid(network, name) is not None


def resampled(network: nn.Module, tensors: dict[str, Tensor], origin: str) -> dict[str, Tensor]:
    """The tensors with those of positions on the network's grid, which is said where it changes something.

    Args:
        network: timm feature network that is to have them.
        tensors: by the network's names, of any grid.
        origin: where they come from, for a person.
    """
    found = {name: _on_grid(network, name, tensor) for name, tensor in tensors.items()}
    changed = [name for name, tensor in found.items() if tensor is not tensors[name]]
    if changed:
        height, width = _grid(network, changed[0]) or (0, 0)
        what = "positions" if changed[0].endswith(_ABSOLUTE) else "relative positions"
        _log.warning("%s: %s were resampled to %dx%d patches.", origin, what, height, width)
    return found


def _grid(network: nn.Module, name: str) -> Grid | None:
    """Rows and columns of patches that a table of positions is for; None for other tensors."""
    parent, _, own = name.rpartition(".")
    module: Any = network.get_submodule(parent)
    table = getattr(module, own, None)
    if own == _ABSOLUTE:
        grid = getattr(getattr(module, "patch_embed", None), "grid_size", None)
        if grid is None or not isinstance(table, Tensor):
            return None
        fits = tuple(table.shape[1:3]) == tuple(grid) if table.dim() == 4 else table.shape[1] >= prod(grid)
        return (int(grid[0]), int(grid[1])) if fits else None
    window = getattr(module, "window_size", None) if own == _RELATIVE else None
    return None if window is None else (int(window[0]), int(window[1]))


def _on_grid(network: nn.Module, name: str, given: Tensor) -> Tensor:
    """The tensor itself where it needs no change, or where none could make it fit."""
    grid = _grid(network, name)
    if grid is None:
        return given
    wanted = network.state_dict()[name]
    if given.dim() != wanted.dim():
        return given
    if name.endswith(_RELATIVE):
        return _relative(given, wanted, grid)
    return _absolute(given, wanted, grid, _trained_grid(network, name))


def _absolute(given: Tensor, wanted: Tensor, grid: Grid, trained: Grid) -> Tensor:
    """``[1, prefix + patches, C]``, as most have it, or ``[1, h, w, C]``."""
    if given.shape[-1] != wanted.shape[-1]:
        return given
    if given.dim() == 4:
        nhwc: Tensor = resample_abs_pos_embed_nhwc(given, list(grid))
        return nhwc
    prefix = wanted.shape[1] - prod(grid)
    patches = given.shape[1] - prefix
    side = isqrt(max(patches, 0))
    # An equal number of patches may be another grid: that of the images trained with if it has as many, else a square.
    own = trained if prod(trained) == patches else (side, side)
    if patches < 1 or own == grid or prod(own) != patches:
        return given
    rows: Tensor = resample_abs_pos_embed(given, list(grid), list(own), num_prefix_tokens=prefix)
    return rows


def _relative(given: Tensor, wanted: Tensor, window: Grid) -> Tensor:
    """``[(2h-1)(2w-1) + others, heads]``; files are taken to be of square windows."""
    if given.shape == wanted.shape and window[0] == window[1]:
        return given
    try:
        # Bicubic, as absolute positions are. timm's other function indexes in a way that torch is about to change.
        table: Tensor = resize_rel_pos_bias_table_simple(given, window, tuple(wanted.shape))
    except (ValueError, RuntimeError, AssertionError):
        return given
    return table


def _trained_grid(network: nn.Module, name: str) -> Grid:
    """Rows and columns of patches of the images that the weights were trained with."""
    config: Any = network.pretrained_cfg
    module: Any = network.get_submodule(name.rpartition(".")[0])
    height, width = module.patch_embed.patch_size
    return int(config["input_size"][1]) // int(height), int(config["input_size"][2]) // int(width)
