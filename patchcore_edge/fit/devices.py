"""Which device torch computes on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["chosen_device", "pinned", "resolve_device"]


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


def chosen_device(device: str | None, accelerator: str | None, devices: int | str | Sequence[int]) -> torch.device:
    """The device that ``Engine`` is told, in its own words or in Lightning's.

    Args:
        device: torch's name, or ``auto``; decides unless ``accelerator`` is given.
        accelerator: ``auto``, ``cpu``, ``gpu``, ``cuda`` or ``xpu``.
        devices: how many of them, which is one, or the number of that one in a list; ``auto`` is one.

    Raises:
        ConfigError: both are given, more than one device is asked for, or torch has no such device here.
    """
    if accelerator is None:
        kind = device or "auto"
    elif device is None:
        kind = accelerator.lower()
    else:
        raise ConfigError("Engine takes device or accelerator, and was given both; leave one out.")
    if kind == "gpu" and accelerator is not None:  # a word of Lightning's, and none of torch's
        kind = "xpu" if torch.xpu.is_available() and not torch.cuda.is_available() else "cuda"
    number = _number(devices)
    if number is None or kind in ("cpu", "auto"):
        return resolve_device(kind)
    return resolve_device(f"{kind}:{number}")


def _number(devices: int | str | Sequence[int]) -> int | None:
    """Of the one device that is meant; None for the first that there is."""
    if devices in ("auto", 1, "1"):
        return None
    if isinstance(devices, Sequence) and not isinstance(devices, str) and len(devices) == 1:
        return int(devices[0])
    raise ConfigError(
        f"Engine works on one device, and devices is {devices!r}; give 1 or [NUMBER], or start one process for each "
        "device with torchrun -m patchcore_edge train."
    )


def pinned(images: Tensor, device: torch.device) -> Tensor:
    """Images where a device copies them from while it computes. Not run on an accelerator: none was at hand."""
    return images.pin_memory() if device.type == "cuda" else images
