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
    grid, wanted = _grid(network, name), network.state_dict(keep_vars=True)[name]
    if grid is None or given.dim() != wanted.dim():
        return given
    if name.endswith(_RELATIVE):
        return _relative(given, wanted, grid)
    if given.shape[-1] != wanted.shape[-1]:
        return given
    if given.dim() == 4:
        same = given.shape == wanted.shape
        return given if same else resample_abs_pos_embed_nhwc(given, list(grid))
    prefix = wanted.shape[1] - prod(grid)
    own = _own_grid(network, name, given.shape[1] - prefix)
    if own is None or own == grid:
        return given
    return resample_abs_pos_embed(given, list(grid), list(own), num_prefix_tokens=prefix)


def _relative(given: Tensor, wanted: Tensor, window: Grid) -> Tensor:
    # Tables of files are taken to be of square windows, so that an equal number of numbers proves nothing.
    if given.shape == wanted.shape and window[0] == window[1]:
        return given
    try:
        # Bicubic, as absolute positions are. timm's other function indexes in a way that torch is about to change.
        return resize_rel_pos_bias_table_simple(given, window, tuple(wanted.shape))
    except (ValueError, RuntimeError, AssertionError):
        return given


def _own_grid(network: nn.Module, name: str, patches: int) -> Grid | None:
    """The grid that so many patches come from: that of the images trained with if it has as many, else a square."""
    config: Any = network.pretrained_cfg
    patch = network.get_submodule(name.rpartition(".")[0]).patch_embed.patch_size
    rows, columns = (int(side) // int(step) for side, step in zip(config["input_size"][1:], patch, strict=True))
    if rows * columns == patches:
        return rows, columns
    side = isqrt(max(patches, 0))
    return (side, side) if side > 0 and side * side == patches else None
