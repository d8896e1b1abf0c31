"""What a line is about to do, in sentences for whoever started it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..monitoring.calibration import outlook
from ..shown import printable, shown_url
from ..sources.registry import is_watched

if TYPE_CHECKING:
    from .runner import Line

__all__ = ["announced"]


def announced(line: Line) -> list[str]:
    """Model, device, precision, limits and source; where results go; how it ends."""
    inspector, limits = line.inspector, line.inspector.thresholds
    warn = "" if limits.warn is None else f", WARN above {limits.warn:.4g}"
    region = "" if inspector.rules.roi is None else f", in the region {','.join(map(str, inspector.rules.roi))}"
    # What a server computes in is its own affair.
    computed_in = f" in {inspector.inference_precision}" if line.config.server is None else ""
    goes_on = line.source.live or is_watched(line.config.source.uri)
    moved = outlook(inspector.manifest, limits)
    return [
        f"{inspector.manifest.model_id} on {' and '.join(inspector.execution_devices)}{computed_in} inspects "
        f"{shown_url(line.config.source.uri)}{region}: NG above {limits.image:.4g}{warn}.",
        *([moved] if moved else []),
        _results(line),
        ("It goes on until" if goes_on else "It ends after the last picture; before that,")
        + (" q in the window," if line.viewer is not None else "")
        + (" Ctrl-C or SIGTERM, which end it" if goes_on else " Ctrl-C ends it")
        + " after the frame in hand.",
    ]


def _results(line: Line) -> str:
    places = [
        f"{name} ({place})" if (place := _place(settings)) else name for name, settings in line.config.sinks.items()
    ]
    if places:
        return f"Results go to {', '.join(map(printable, places))}."
    shown = "the window and " if line.viewer is not None else ""
    return f"Results go nowhere but into {shown}the counts at the end; --results FILE and --save-ng FOLDER keep them."


def _place(settings: Any) -> str:
    """Where a sink writes, as its settings say it."""
    for name in ("path", "folder"):
        if (place := getattr(settings, name, None)) is not None:
            return str(place)
    if (url := getattr(settings, "url", None)) is not None:
        return shown_url(url)
    host, port = getattr(settings, "host", None), getattr(settings, "port", None)
    return "" if host is None else f"{host}:{port}"
