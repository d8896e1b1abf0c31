"""PatchCore on the line PC: torch-free inspection of camera frames with an OpenVINO bundle.

>>> from patchcore_edge_runtime import Inspector, draw_overlay      # doctest: +SKIP
>>> inspector = Inspector("bottle_bundle", device="CPU")            # doctest: +SKIP
>>> result = inspector(frame)                                       # doctest: +SKIP
>>> print(result.verdict, result.pred_score)                        # doctest: +SKIP
"""

from . import telemetry  # noqa: F401 - before anything that may import OpenVINO
from .bundle.bundle import Bundle
from .display.overlay import draw_overlay
from .errors import BundleError, ConfigError, DeviceError, FrameError, ParityError, PatchcoreEdgeError, SourceError
from .images.pixel_limit import MAX_PIXELS
from .images.preprocess import PreprocessSpec, preprocess
from .inspection.ignore_mask import IgnoreMask
from .inspection.inspector import Inspector
from .inspection.openvino_backend import available_devices
from .inspection.regions import Region
from .inspection.result import InspectionResult, Timings
from .inspection.rules import LineRules
from .sources import open_source
from .verdict import Thresholds, Verdict
from .version import __version__

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
