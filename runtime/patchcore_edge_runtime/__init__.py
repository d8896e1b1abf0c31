"""PatchCore on the line PC: torch-free inspection of camera frames with an OpenVINO bundle.

Examples:
    >>> from patchcore_edge_runtime import Inspector, draw_overlay  # doctest: +SKIP
    >>> inspector = Inspector("bottle_bundle", device="CPU")  # doctest: +SKIP
    >>> result = inspector(frame)  # doctest: +SKIP
    >>> print(result.verdict, result.pred_score)  # doctest: +SKIP
"""

from . import telemetry  # noqa: F401 - before anything that may import OpenVINO
from .images.pixel_limit import MAX_PIXELS
from .lazy_names import lazily
from .version import __version__

# Not from typing: until a command listens to Ctrl-C, as little as can be is loaded.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .bundle.bundle import Bundle
    from .display.overlay import draw_overlay
    from .errors import BundleError, ConfigError, DeviceError, FrameError, ParityError, PatchcoreEdgeError, SourceError
    from .images.preprocess import PreprocessSpec, preprocess
    from .inspection.ignore_mask import IgnoreMask
    from .inspection.inspector import Inspector
    from .inspection.openvino_backend import available_devices
    from .inspection.regions import Region
    from .inspection.result import InspectionResult, Timings
    from .inspection.rules import LineRules
    from .serving.settings import ServerSettings
    from .sources import open_source
    from .verdict import Thresholds, Verdict

__all__ = [
    "MAX_PIXELS",
    "Bundle",
    "BundleError",
    "ConfigError",
    "DeviceError",
    "FrameError",
    "IgnoreMask",
    "InspectionResult",
    "Inspector",
    "LineRules",
    "ParityError",
    "PatchcoreEdgeError",
    "PreprocessSpec",
    "Region",
    "ServerSettings",
    "SourceError",
    "Thresholds",
    "Timings",
    "Verdict",
    "__version__",
    "available_devices",
    "draw_overlay",
    "open_source",
    "preprocess",
]

# Loaded when asked for: where OpenCV or OpenVINO cannot be loaded, a command can still say so in a sentence.
_PLACES = {
    "Bundle": "bundle.bundle",
    "draw_overlay": "display.overlay",
    "BundleError": "errors",
    "ConfigError": "errors",
    "DeviceError": "errors",
    "FrameError": "errors",
    "ParityError": "errors",
    "PatchcoreEdgeError": "errors",
    "SourceError": "errors",
    "PreprocessSpec": "images.preprocess",
    "preprocess": "images.preprocess",
    "IgnoreMask": "inspection.ignore_mask",
    "Inspector": "inspection.inspector",
    "available_devices": "inspection.openvino_backend",
    "Region": "inspection.regions",
    "InspectionResult": "inspection.result",
    "Timings": "inspection.result",
    "LineRules": "inspection.rules",
    "ServerSettings": "serving.settings",
    "open_source": "sources",
    "Thresholds": "verdict",
    "Verdict": "verdict",
}

__getattr__, __dir__ = lazily(__name__, _PLACES)
