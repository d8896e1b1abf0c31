"""From a fitted run to a verified OpenVINO bundle."""

import patchcore_edge_runtime.telemetry  # noqa: F401 - before OpenVINO and NNCF

__all__: list[str] = []
