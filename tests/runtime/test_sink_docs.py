"""docs/runtime.md names every sink, every key and every route, and the keys of the window."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patchcore_edge_runtime.display.window import KEYS
from patchcore_edge_runtime.sinks import SINKS
from patchcore_edge_runtime.sinks.base import SinkSettings

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "runtime.md").read_text(encoding="utf-8")


def _section(name: str) -> str:
    return re.split(rf"^### {name}$", PAGE, flags=re.MULTILINE)[1].split("\n#")[0]


@pytest.mark.parametrize("name", sorted(SINKS))
def test_every_key_of_a_sink_is_documented_with_its_default(name: str) -> None:
    rows = re.findall(r"^\| (`.+?`) \| .* \| (.+?) \|$", _section(name), flags=re.MULTILINE)
    documented = {}
    for keys, defaults in rows:
        names, values = re.findall(r"`(\w+)`", keys), defaults.split(", ")
        documented |= dict(zip(names, values * len(names) if len(values) == 1 else values, strict=True))
    fields = {
        key: field for key, field in SINKS[name].Settings.model_fields.items() if key not in SinkSettings.model_fields
    }
    assert set(documented) == set(fields)
    for key, field in fields.items():
        if field.is_required():
            assert documented[key] == "required", key
        elif isinstance(field.default, bool):
            assert documented[key] == str(field.default).lower(), key
        elif isinstance(field.default, int | float):
            assert float(documented[key]) == field.default, key
        elif isinstance(field.default, str):
            assert documented[key] == field.default, key


def test_every_route_is_documented() -> None:
    pytest.importorskip("starlette", reason="needs the package starlette")
    from patchcore_edge_runtime.sinks import SinkContext
    from patchcore_edge_runtime.sinks.http.live_view import LiveView
    from patchcore_edge_runtime.sinks.http.routes import build_app
    from patchcore_edge_runtime.sinks.http.settings import HttpSettings

    app = build_app(HttpSettings(), SinkContext(), LiveView(1, 64), None)
    for route in app.routes:
        assert re.search(rf"`{re.escape(route.path)}[`?]", _section("http")), route.path


def test_every_key_of_the_window_is_documented() -> None:
    for keys in KEYS:
        assert f"| {keys} |" in PAGE


def test_the_pictures_are_there_and_small() -> None:
    for name in re.findall(r"\]\((images/[^)]+)\)", PAGE):
        path = Path(__file__).resolve().parents[2] / "docs" / name
        assert 5_000 < path.stat().st_size < 150_000
