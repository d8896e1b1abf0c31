"""PatchCore for the edge: fit, calibrate and evaluate on a host; export to OpenVINO for the line PC.

Examples:
    >>> from patchcore_edge import Engine, Folder, Patchcore  # doctest: +SKIP
    >>> parts, model = Folder("parts"), Patchcore()  # doctest: +SKIP
    >>> Engine().fit(model, parts)  # doctest: +SKIP
"""

from patchcore_edge_runtime.lazy_names import lazily
from patchcore_edge_runtime.version import __version__

# Not from typing: until a command listens to Ctrl-C, as little as can be is loaded.
TYPE_CHECKING = False
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
_ELSEWHERE = {"Engine": "engine", "Patchcore": "models"}
_OF_DATA = set(__all__) - _ELSEWHERE.keys() - {"__version__"}
__getattr__, __dir__ = lazily(__name__, _ELSEWHERE | dict.fromkeys(_OF_DATA, "data"))
