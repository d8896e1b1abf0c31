"""Networks for images of another size than the one they were trained with, as transformers have to be built for one."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import timm
import torch
from torch import nn

from patchcore_edge_runtime.errors import ConfigError

from .position_tables import is_position_table

__all__ = ["META_ERRORS", "meta_network", "own_size", "size_options"]

META_ERRORS = (RuntimeError, TypeError, IndexError, ValueError, AttributeError, AssertionError)
"""What networks raise that cannot be built, or run without pixels."""
_NEAR = 3
"""Names to offer for one that is misspelt."""


def meta_network(backbone: str, **options: Any) -> nn.Module:
    """The network's structure on the meta device: no memory, no arithmetic, no random numbers.

    Raises:
        ConfigError: timm has no features of such a backbone.
    """
    try:
        with torch.device("meta"):
            network: nn.Module = timm.create_model(backbone, features_only=True, **options)
    except (RuntimeError, AttributeError, TypeError) as error:
        if sentence := _unknown(backbone):
            raise ConfigError(sentence) from None
        raise ConfigError(
            f"timm offers no features of a backbone {backbone!r} ({error}); choose one that has features_only."
        ) from None
    return network.eval()


def _unknown(backbone: str) -> str:
    """What to say of a name, or of the tag behind its point, that timm does not have; empty where it has it."""
    architecture, _, tag = backbone.partition(".")
    if timm.is_model(architecture):
        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
        if not tag or tag in tags:
            return ""
        near = [f"{architecture}.{one}" for one in get_close_matches(tag, tags, _NEAR, 0)]
    else:
        near = get_close_matches(architecture.lower().replace("-", "_"), timm.list_models(), _NEAR)
    told = f"near are {', '.join(near)}" if near else "`timm.list_models()` names all"
    return f"timm knows no backbone {backbone!r}; {told}."


def own_size(network: nn.Module) -> tuple[int, int]:
    """Height and width in pixels of the images that a timm network was trained with."""
    config: Any = network.pretrained_cfg
    height, width = config["input_size"][1:]
    return int(height), int(width)


def size_options(backbone: str, plain: nn.Module, image_size: tuple[int, int] | None) -> dict[str, Any]:
    """What timm has to be told so that a network takes images of a size: nothing where it takes any.

    Args:
        backbone: timm name.
        plain: its structure as timm builds it unasked.
        image_size: (height, width) in pixels; the size it was trained with when absent.

    Raises:
        ConfigError: it cannot be built for that size, or its weights could not follow.
    """
    config: Any = plain.pretrained_cfg
    if image_size is None or not config.get("fixed_input_size"):
        return {}
    _require_whole_patches(backbone, plain, image_size)
    options: dict[str, Any] = {"img_size": image_size}
    if any(getattr(module, "dynamic_img_size", False) for module in plain.modules()):
        # Else positions would be computed anew in each forward pass, and in the exported graph.
        options["dynamic_img_size"] = False
    if image_size != own_size(plain) and not _can_follow(backbone, plain, options):
        height, width = own_size(plain)
        raise ConfigError(
            f"{backbone} does not take images of {image_size[0]}x{image_size[1]} pixels; "
            f"choose {height}x{width}, the size it was trained with."
        )
    return options


def _require_whole_patches(backbone: str, network: nn.Module, image_size: tuple[int, int]) -> None:
    """timm would leave the pixels beyond the last whole patch unseen."""
    patch = _patch_size(network)
    if patch is None or all(side % step == 0 for side, step in zip(image_size, patch, strict=True)):
        return
    floor = [max(side // step, 1) * step for side, step in zip(image_size, patch, strict=True)]
    ceiling = [-(-side // step) * step for side, step in zip(image_size, patch, strict=True)]
    sizes = " or ".join(dict.fromkeys(f"{height}x{width}" for height, width in (floor, ceiling)))
    steps = str(patch[0]) if patch[0] == patch[1] else f"{patch[0]} (height) and {patch[1]} (width)"
    raise ConfigError(
        f"{backbone} takes images whose sides are multiples of {steps} pixels, which "
        f"{image_size[0]}x{image_size[1]} are not; choose {sizes}."
    )


def _patch_size(network: nn.Module) -> tuple[int, int] | None:
    for name, module in network.named_modules():
        size = getattr(module, "patch_size", None)
        if name.endswith("patch_embed") and size is not None:
            height, width = (size, size) if isinstance(size, int) else size
            return int(height), int(width)
    return None


def _can_follow(backbone: str, plain: nn.Module, options: dict[str, Any]) -> bool:
    """Whether the network can be built so, and whatever then has another shape can be resampled."""
    try:
        network = meta_network(backbone, **options)
        network(torch.empty(1, 3, *options["img_size"], device="meta"))
    except (ConfigError, *META_ERRORS):
        return False
    own = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    return all(
        tensor.shape == own.get(name) or is_position_table(network, name)
        for name, tensor in network.state_dict().items()
    )
