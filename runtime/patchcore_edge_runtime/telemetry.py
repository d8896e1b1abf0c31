"""No report home: imported before OpenVINO, by this package itself, so that nobody has to remember it."""

import sys

__all__ = ["fence_telemetry"]


def fence_telemetry() -> None:
    """Keep ``openvino_telemetry`` out of this process.

    OpenVINO, its converter and NNCF bring it: at their import it forks a process that looks up an analytics host and
    writes below the user's home, which a service account may not have. All of them fall back to a silent stub when it
    cannot be imported, so the import is made to fail.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]


fence_telemetry()
