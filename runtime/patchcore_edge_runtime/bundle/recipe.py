"""How a model sees and scores parts: the same words in a run, in a bundle and on the command line."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["PcaOptions", "ScoreRule"]


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


class PcaOptions(BaseModel):
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
