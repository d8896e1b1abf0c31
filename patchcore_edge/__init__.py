"""PatchCore for the edge: fit, calibrate and evaluate on a host; export to OpenVINO for the line PC.

Examples:
    >>> from patchcore_edge import Engine, Folder, Patchcore  # doctest: +SKIP
    >>> parts, model = Folder("parts"), Patchcore()  # doctest: +SKIP
    >>> Engine().fit(model, parts)  # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from patchcore_edge_runtime.version import __version__

if TYPE_CHECKING:
    from .data import DataModule, Folder, ImageList, MVTec, MVTecAD, Shards, VisA, open_data
    from .engine import Engine
    from .models import Patchcore

__all__ = [
    "DataModule",
    "Engine",
    "Folder",
    "ImageList",
    "MVTec",
    "MVTecAD",
    "Patchcore",
    "Shards",
    "VisA",
    "__version__",
    "open_data",
]

# Loaded when asked for: torch takes seconds, which `patchcore-edge --help` does not wait for.
_PLACES = {"Engine": "engine", "Patchcore": "models", **dict.fromkeys(set(__all__) - {"Engine", "Patchcore"}, "data")}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
