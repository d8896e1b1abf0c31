"""What a recipe is, and which recipes are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, PositiveInt

from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule

__all__ = ["CENTERINGS", "RULES", "Layout", "Recipe", "View", "layer_sets", "spaces", "views"]

RULES = (ScoreRule.MAP_MAX, ScoreRule.TOP_K, ScoreRule.PATCH_MAX, ScoreRule.REFERENCE)
"""In the order in which they are preferred where nothing speaks against it."""
CENTERINGS = (0.5, 1.0)
"""Shares of an image's own mean that are taken off its patches where good parts differ from lot to lot."""
_FINEST, _COARSEST = 4, 16
"""Pixels from cell to cell of the layers that are tried: finer ones see edges only, coarser ones no small defect."""
_LARGE, _HUGE = 320 * 320, 448 * 448
"""Pixels from which on patches are tried twice as far apart, and from which on only so."""
_SPACES = (
    None,
    PcaOptions(dimensions=0.99),
    PcaOptions(dimensions=0.99, whitening=0.25),
    PcaOptions(dimensions=0.99, whitening=0.5),
    PcaOptions(dimensions=0.9, whitening=0.5),
)


class View(BaseModel):
    """What recipes share one extraction of features of: a network's layers on images of one size.

    Attributes:
        layers: all that its recipes use.
        image_size: height and width in pixels.
        patch_stride: pixels from patch to patch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    layers: tuple[str, ...]
    image_size: tuple[PositiveInt, PositiveInt]
    patch_stride: PositiveInt

    def __str__(self) -> str:
        height, width = self.image_size
        return f"{self.backbone}, {width}x{height} pixels, a patch every {self.patch_stride}"


class Layout(BaseModel):
    """What one coreset is chosen for: some layers of a view, centred or not, in a feature space."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: View
    layers: tuple[str, ...]
    pca: PcaOptions | None = None
    centering: float = 0.0


class Recipe(BaseModel):
    """How parts are seen and scored.

    Attributes:
        bank_size: patches in the memory bank.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Layout
    score: ScoreRule
    bank_size: PositiveInt

    @property
    def plain(self) -> Recipe:
        """The same with features that are not centred."""
        return self.model_copy(update={"layout": self.layout.model_copy(update={"centering": 0.0})})

    def __str__(self) -> str:
        layout = self.layout
        space = "features as they are" if layout.pca is None else f"PCA {layout.pca.dimensions:g}"
        if layout.pca is not None and layout.pca.whitening:
            space += f" whitened by {layout.pca.whitening:g}"
        if layout.centering:
            space += f" less {layout.centering:g} of their mean"
        return f"{layout.view}; {' + '.join(layout.layers)}, {space}, bank of {self.bank_size:,}, {self.score}"


def layer_sets(strides: Mapping[str, int]) -> list[tuple[str, ...]]:
    """Layers alone and together, the likeliest first.

    Args:
        strides: the network's layers with their pixels from cell to cell, from first to last.
    """
    # Of the layers of one resolution the last one has seen most.
    by_stride = {stride: layer for layer, stride in strides.items() if _FINEST <= stride <= _COARSEST}
    named = [by_stride[stride] for stride in sorted(by_stride)]
    if len(named) < 2:
        # Transformers: one resolution, whose middle and late layers differ as much as resolutions do elsewhere.
        names = list(strides)
        named = list(dict.fromkeys(names[len(names) * share // 4 - (share == 4)] for share in (2, 3, 4)))
    pairs = [tuple(named[place : place + 2]) for place in range(len(named) - 2, -1, -1)]
    alone = [(layer,) for layer in reversed(named)]
    return list(dict.fromkeys([*pairs, *alone, tuple(named)]))


def views(backbone: str, strides: Mapping[str, int], sizes: Sequence[tuple[int, int]]) -> list[View]:
    """What is extracted for a backbone, in the order of the sizes.

    Args:
        backbone: timm name.
        strides: its layers with their pixels from cell to cell.
        sizes: heights and widths, the default first.
    """
    used = {layer for some in layer_sets(strides) for layer in some}
    layers = tuple(layer for layer in strides if layer in used)
    own = sorted({strides[layer] for layer in layers})
    # The second finest as the paper has it; the coarsest where images are large, as patches cost time too.
    usual, coarse = own[min(1, len(own) - 1)], own[-1]
    made: list[View] = []
    for height, width in sizes:
        wanted = [usual] if height * width < _LARGE else [usual, coarse] if height * width < _HUGE else [coarse]
        made += [
            View(backbone=backbone, layers=layers, image_size=(height, width), patch_stride=stride)
            for stride in dict.fromkeys(wanted)
        ]
    return made


def spaces() -> tuple[PcaOptions | None, ...]:
    """The feature spaces, the plain one first."""
    return _SPACES
