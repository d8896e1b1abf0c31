"""Which device torch computes on."""

from __future__ import annotations

import torch

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["resolve_device"]


def resolve_device(name: str) -> torch.device:
    """``auto`` takes CUDA, then XPU, then the CPU; any other name is torch's, in capitals or not.

    Raises:
        ConfigError: torch has no such device here.
    """
    if name.lower() == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("xpu") if torch.xpu.is_available() else torch.device("cpu")
    try:
        device = torch.device(name.lower())
    except RuntimeError:
        raise ConfigError(f"torch has no device {name!r}; give --device auto, cpu, cuda or xpu.") from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).splitlines()[0]
        raise ConfigError(f"torch cannot use the device {name!r} ({first_line}); try --device cpu.") from None
    return device
