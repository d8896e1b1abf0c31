"""How a model sees and scores parts: the same words in a run, in a bundle and on the command line."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict, Field, field_validator, model_validator

from ..validation import Checked

__all__ = ["AugmentOptions", "Augmentation", "PcaOptions", "ScoreRule"]


class ScoreRule(StrEnum):
    """How an image's score comes from its patches.

    Attributes:
        REFERENCE: the largest patch distance, re-weighted by its neighbourhood (Roth et al. 2022, eq. 7).
        PATCH_MAX: the largest patch distance.
        TOP_K: the mean of the largest hundredth of the patch distances.
        MAP_MAX: the largest value of the smoothed map.
    """

    REFERENCE = "reference"
    PATCH_MAX = "patch-max"
    TOP_K = "top-k"
    MAP_MAX = "map-max"


class PcaOptions(Checked):
    """A feature space: principal components of good patches.

    Attributes:
        dimensions: how many are kept, or below 1 which share of the variance.
        whitening: a in ``ev^(-a/2)``: 0 is plain PCA, 1 gives all directions the same variance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dimensions: float = Field(gt=0, allow_inf_nan=False)
    whitening: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _count(self) -> PcaOptions:
        if self.dimensions >= 1 and self.dimensions != int(self.dimensions):
            raise ValueError("dimensions is a whole number, or a share below 1")
        return self


class Augmentation(StrEnum):
    """What further pictures of a good image show as good too.

    Attributes:
        BRIGHTNESS: less or more light.
        CONTRAST: greys nearer to their mean, or farther from it.
        SHIFT: the part a little aside.
        TURN: the part a little turned.
        FLIP_H: left and right exchanged.
        FLIP_V: top and bottom exchanged.
    """

    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    SHIFT = "shift"
    TURN = "turn"
    FLIP_H = "flip-h"
    FLIP_V = "flip-v"


class AugmentOptions(Checked):
    """Augmentations of the bank: it is chosen from the good images and from copies of them.

    Attributes:
        kinds: what the copies vary, each copy all of them.
        copies: of each image, at most; see ``made``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[Augmentation, ...] = Field(min_length=1)
    copies: int = Field(default=3, ge=1, le=100)

    @field_validator("kinds")
    @classmethod
    def _in_order(cls, kinds: tuple[Augmentation, ...]) -> tuple[Augmentation, ...]:
        return tuple(kind for kind in Augmentation if kind in kinds)

    @property
    def flips(self) -> tuple[Augmentation, ...]:
        """Those of the kinds that are exact."""
        return tuple(kind for kind in self.kinds if kind in (Augmentation.FLIP_H, Augmentation.FLIP_V))

    @property
    def made(self) -> int:
        """How many copies of each image there are: flips alone give no more than one, or three of both."""
        return self.copies if len(self.flips) < len(self.kinds) else min(self.copies, 2 ** len(self.flips) - 1)
