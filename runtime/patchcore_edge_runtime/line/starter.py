"""A file to start a line from: what it needs is set, and every other key stands there with what it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..bundle.manifest import Manifest, TradeOffPoint
from ..monitoring.calibration import choices
from ..sinks.check import EXTRAS
from ..sources import is_live, is_watched
from .schema import SCHEMA_FILE, line_schema

__all__ = ["starter_file"]

_WIDE = 38
_EXAMPLES: dict[str, tuple[str, dict[str, Any]]] = {
    "jsonl": ("A line of JSON for each part, added to a file", {"path": "results.jsonl"}),
    "archive": ("Pictures of what was not OK, with the suspicious place marked", {"folder": "archive"}),
    "http": ("A web page of the line: pictures, counts, health", {"port": 8080}),
    "mqtt": ("Each result to an MQTT broker", {"host": "broker", "topic": "plant/line"}),
    "modbus": ("Verdicts to a PLC by Modbus TCP", {"host": "plc"}),
}
_SET = ("jsonl", "archive")
_MORE = {"cache_dir": "cache", "inference_num_threads": 1}


def starter_file(manifest: Manifest, bundle: str, source: str, name: str) -> str:
    """The text of ``line.toml``.

    Args:
        manifest: of the bundle, whose thresholds and scores are told.
        bundle: its folder, as the file is to have it.
        source: as ``-s`` takes it, a path relative to the file or whole.
        name: of the line.
    """
    schema = line_schema()
    live = is_live(source)
    parts = [
        [
            f"#:schema {SCHEMA_FILE}",
            "# What stands behind a # is the default, or an example: take the # away and change it.",
            "# Check this file: patchcore-edge-runtime check -c FILE",
            "# Run the line:    patchcore-edge-runtime run -c FILE",
            _row("name", name, "what people call the line"),
            _row("bundle", bundle, manifest.model_id),
            *_rest(schema["properties"], {"name", "bundle"}),
            *(_comment(key, value, schema["properties"][key]["description"]) for key, value in _MORE.items()),
        ],
        [
            "[source]",
            _row("uri", source, "a camera, a URL, a video, a folder, 'watch:FOLDER' …"),
            *([_row("wait", True, "be content with a camera that is not there yet")] if live else []),
            *_rest(schema["$defs"]["SourceTable"]["properties"], {"uri", "state"} | _not_for(source)),
        ],
        ["[thresholds]", *_thresholds(manifest)],
        ["[inspect]", *_rest(schema["$defs"]["InspectTable"]["properties"], {"ignore"}), *_INSPECT],
        ["[trigger]", *_rest(schema["$defs"]["TriggerTable"]["properties"], set()), *(_TRIGGER if live else [])],
        *(_sink(kind, schema) for kind in _EXAMPLES),
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


_INSPECT = [
    "# roi = [0, 0, 640, 480]                # the part that is inspected: x, y, width, height in pixels",
    "# ignore = [[[0, 0], [0.2, 0], [0.2, 0.1]]]  # polygons in which nothing counts, in fractions",
    "# debounce = { ng = 2, of = 3 }         # a part is NG when two of its last three frames are",
]
_TRIGGER = ['# every_ms = 200                        # with mode = "interval": the newest frame, so often']
_MOST_POINTS = 8


def _thresholds(manifest: Manifest) -> list[str]:
    """The bundle's own, and what others would do, as far as its calibration knows."""
    limits, facts = manifest.thresholds, manifest.calibration
    scores = facts.scores
    told = f"# Raw scores. {facts.n} good parts scored {scores.min:.4g} to {scores.max:.4g}, half of them below "
    rows = [f"{told}{scores.median:.4g}."]
    if facts.trade_off:
        rows.append("# What image thresholds would do:")
    for point in _some(choices(manifest), limits.image):
        caught = "" if point.synthetic_recall is None else f", {point.synthetic_recall:.0%} of drawn defects caught"
        mine = " (the bundle's)" if point.threshold == limits.image else ""
        rows.append(f"#   {point.threshold:.4g}: {point.expected_fpr:.2%} of good parts rejected{caught}{mine}")
    warn = limits.warn if limits.warn is not None else (scores.median + limits.image) / 2
    return [
        *rows,
        _comment("image", _short(limits.image), "a part is NG above it; this is the bundle's"),
        _comment("pixel", _short(limits.pixel), "a pixel is anomalous above it; this is the bundle's"),
        _comment("warn", _short(min(warn, 0.99 * limits.image)), "a part is WARN above it"),
    ]


def _some(points: Sequence[TradeOffPoint], own: float) -> list[TradeOffPoint]:
    """About eight of them, spread evenly, with the first, the last and the bundle's own."""
    last, count = len(points) - 1, min(len(points), _MOST_POINTS)
    shown = {round(place * last / max(1, count - 1)) for place in range(count)}
    return [point for place, point in enumerate(points) if place in shown or point.threshold == own]


def _sink(kind: str, schema: dict[str, Any]) -> list[str]:
    table = schema["properties"]["sinks"]["properties"][kind]["$ref"].rsplit("/", 1)[1]
    about, (what, example) = schema["$defs"][table], _EXAMPLES[kind]
    mark = "" if kind in _SET else "# "
    extra = f"  (pip install 'patchcore-edge-runtime[{kind}]')" if kind in EXTRAS else ""
    rows = [
        (_row if kind in _SET else _comment)(key, value, about["properties"][key]["description"])
        for key, value in example.items()
    ]
    return [f"# {what}.{extra}", f"{mark}[sinks.{kind}]", *rows]


def _rest(properties: dict[str, Any], done: set[str]) -> list[str]:
    """The keys with a plain default, each as a comment."""
    return [
        _comment(key, facts["default"], facts["description"])
        for key, facts in properties.items()
        if key not in done and isinstance(facts.get("default"), str | int | float)
    ]


def _not_for(source: str) -> set[str]:
    """Keys that mean nothing to this source."""
    cameras = {"open_timeout", "read_timeout", "max_backoff", "wait", "max_repeats"}
    return ({"recursive", "settle", "wait"} if is_live(source) else cameras) | (
        set() if is_watched(source) else {"settle"}
    )


def _row(key: str, value: Any, words: str, wide: int = _WIDE) -> str:
    # TOML's texts, numbers and truths are written as JSON's.
    return f"{f'{key} = {json.dumps(value, ensure_ascii=False)}':<{wide}}  # {words.rstrip('.')}"


def _comment(key: str, value: Any, words: str) -> str:
    return "# " + _row(key, value, words, _WIDE - 2)


def _short(number: float) -> float:
    return float(f"{number:.6g}")
