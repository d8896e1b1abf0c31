"""From a fitted run to a verified OpenVINO bundle."""

from patchcore_edge.telemetry import silence

silence()

__all__: list[str] = []
