"""OpenVINO's converter and NNCF report home unless told not to; a line's PC does not.

Both fall back to a silent stub when ``openvino_telemetry`` cannot be imported, so the import is made to fail.
"""

from __future__ import annotations

import sys

__all__ = ["silence"]


def silence() -> None:
    """Switch telemetry off for this process; call before OpenVINO's converter or ``nncf`` are imported."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
