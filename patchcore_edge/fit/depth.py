"""How many of 16 bits a model takes from its images, where nobody says."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..data import ImageItem
from ..data.pixel_facts import pixel_facts
from ..models import Patchcore

__all__ = ["find_depth"]

_log = logging.getLogger(__name__)


def find_depth(model: Patchcore, items: Sequence[ImageItem]) -> None:
    """Have a model take the depth that images use, unless it was told one; what is found is logged."""
    spec = model.pre_processor.spec
    if spec.bit_depth is not None:
        return
    facts = pixel_facts([item.path for item in items])
    model.look_at(spec.model_copy(update={"bit_depth": facts.bit_depth}), model.ignore_masks)
    for sentence in facts.sentences(facts.bit_depth):
        _log.warning(sentence)
