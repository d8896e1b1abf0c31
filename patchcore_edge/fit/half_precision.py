"""Features in half precision, where the distances to a bank of them are those of single precision.

A backbone in 16 bits takes half the time or less on accelerators. The line computes in single precision, so what counts
is not how far a feature moves but how far that moves a distance: of patches in single precision to a bank in half.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..models.neighbors import nearest

__all__ = ["DISTANCE_LIMIT", "distance_deviation", "half_types", "usable_half"]

_log = logging.getLogger(__name__)

DISTANCE_LIMIT = 5e-3
"""Largest deviation of a patch's distance to the bank, as a share of the mean of such distances: what the gate allows
graphs in half precision."""


def half_types(device: torch.device) -> tuple[torch.dtype, ...]:
    """Types worth trying on a device, the more exact one first; none on a CPU, where OpenVINO embeds.

    Not run: no accelerator was at hand.
    """
    return () if device.type == "cpu" else (torch.float16, torch.bfloat16)


def usable_half(
    embed: Callable[[Tensor, torch.dtype | None], Tensor], frames: Tensor, types: Sequence[torch.dtype]
) -> torch.dtype | None:
    """The first type whose features lead to the right distances on some frames; None for single precision.

    Args:
        embed: gives ``[N*h*w, D]`` float32 features of frames, computed in a type, or in single precision for None.
        frames: ``[N,H,W,3]`` uint8 BGR.
        types: to try.
    """
    if not types:
        return None
    expected = embed(frames, None)
    tried = []
    for kind in types:
        name = str(kind).removeprefix("torch.")
        try:
            found = distance_deviation(embed(frames, kind), expected, len(frames))
        except RuntimeError as error:  # an operation that the device does not have in this type
            tried.append(f"{name} is not computed here ({str(error).splitlines()[0]})")
            continue
        # Written so that NaN fails.
        if found <= DISTANCE_LIMIT:
            return kind
        tried.append(f"{name} moves distances by {found:.1e}")
    _log.warning("Features are computed in float32: %s.", ", ".join(tried))
    return None


@torch.inference_mode()
def distance_deviation(rows: Tensor, expected: Tensor, images: int) -> float:
    """Largest change of a distance to a bank of ``rows`` in place of one of ``expected``, as a share of the mean.

    Args:
        rows: ``[n, D]`` of some images, one after the other.
        expected: the same in single precision; the later images' are what is measured.
        images: how many there are; of a single one half the patches are the bank.
    """
    count = len(expected)
    bank = count // images * max(images // 2, 1) if images > 1 else count // 2
    queries = expected[bank:]
    right, found = (nearest(some[:bank], queries, 1)[0][:, 0] for some in (expected, rows))
    return float((found - right).abs().max() / right.mean().clamp_min(1e-30))
