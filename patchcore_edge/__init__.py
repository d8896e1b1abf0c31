"""PatchCore for the edge: fit, calibrate and evaluate on a host; export to OpenVINO for the line PC."""

from patchcore_edge_runtime.version import __version__

__all__ = ["__version__"]
