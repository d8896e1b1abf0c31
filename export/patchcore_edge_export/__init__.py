"""From a fitted run to a verified OpenVINO bundle."""

from .telemetry import silence

silence()

__all__: list[str] = []
