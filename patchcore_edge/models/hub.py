"""Weights from timm's hub.

What was downloaded before is read where it lies; else the hub is asked once and briefly, with what to do where it does
not answer.
"""

from __future__ import annotations

from typing import Any

import timm
from safetensors.torch import load_file
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError

from .weights import WEIGHTS_DIR, other_default

__all__ = ["downloaded"]

_SECONDS = 5.0
"""To answer the first question. The hub's own client asks again and again, for a minute."""
_FILE = "model.safetensors"
_OLDER = "pytorch_model.bin"


def downloaded(backbone: str, network: nn.Module, indices: tuple[int, ...]) -> dict[str, Tensor]:
    """timm's weights of a feature network, positions as they were trained.

    Args:
        backbone: timm name.
        network: as timm builds it, which knows where its weights are.
        indices: timm's of the layers.

    Raises:
        ConfigError: they could not be downloaded.
    """
    config: Any = network.pretrained_cfg
    repository = config.get("hf_hub_id")
    overlay: dict[str, Any] = {}
    try:
        # A file of another name, or one that the library reads in a way of its own, is left to timm.
        usual = not config.get("hf_hub_filename") and config.get("custom_load") != "hf"
        if repository and usual and (file := _cached(repository, _FILE)):
            overlay["state_dict"] = load_file(file)
        elif repository:
            _require_answer(repository)
        filled = timm.create_model(
            backbone, pretrained=True, pretrained_cfg_overlay=overlay, features_only=True, out_indices=indices
        )
    except Exception as error:
        # The hub's client raises whatever its transport meets.
        what = f"{_FILE} of {repository}" if repository else f"them ({config.get('url') or 'timm has no address'})"
        raise ConfigError(
            f"The weights of {backbone} could not be downloaded ({_cause(error)}); where there is a network get "
            f"{what}, and give it as --weights FILE or put it as {backbone}.safetensors into a folder that "
            f"{WEIGHTS_DIR} names{other_default(backbone)}."
        ) from error
    return dict(filled.state_dict())


def _cached(repository: str, name: str) -> str | None:
    """Where an earlier download left a file; nobody is asked whether there is a newer one."""
    # Imported by who downloads: it takes half a second.
    import huggingface_hub as hub

    repository, _, revision = repository.partition("@")
    found = hub.try_to_load_from_cache(repository, name, revision=revision or None)
    return found if isinstance(found, str) else None


def _require_answer(repository: str) -> None:
    """Raise what the hub's client raises where nothing is in its cache and nobody answers soon."""
    import huggingface_hub as hub
    from huggingface_hub.errors import EntryNotFoundError

    if _cached(repository, _FILE) or _cached(repository, _OLDER):
        return
    repository, _, revision = repository.partition("@")
    url = hub.hf_hub_url(repository, _FILE, revision=revision or None, endpoint=hub.constants.ENDPOINT)
    try:
        hub.get_hf_file_metadata(url, timeout=min(_SECONDS, hub.constants.HF_HUB_ETAG_TIMEOUT))
    except EntryNotFoundError:
        return  # it answers; older repositories have another file


def _cause(error: BaseException) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:120]}" if words else type(error).__name__
