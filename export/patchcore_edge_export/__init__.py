"""From a fitted run to a verified OpenVINO bundle."""

from patchcore_edge.telemetry import disable_telemetry

disable_telemetry()

__all__: list[str] = []
