"""The schema of a line's file: what an editor completes and marks, and that it agrees with what is read."""

from __future__ import annotations

import json
import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conftest import REPOSITORY

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config_file import load_lines
from patchcore_edge_runtime.line.schema import line_schema
from patchcore_edge_runtime.sinks import SINKS

SCHEMA = line_schema()
LINE = "bundle = 'b'\n[source]\nuri = 'rtsp://camera/stream'\n"


def faults(text: str) -> list[str]:
    checked = jsonschema.Draft202012Validator(SCHEMA)
    return [fault.json_path for fault in checked.iter_errors(tomllib.loads(text))]


def examples() -> list[str]:
    page = (REPOSITORY / "docs" / "line.md").read_text(encoding="utf-8")
    files = [file.read_text(encoding="utf-8") for file in sorted((REPOSITORY / "samples").rglob("line*.toml"))]
    return [*re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL), *files]


def test_the_committed_schema_is_that_of_the_settings() -> None:
    module = runpy.run_path(str(REPOSITORY / "docs" / "write_schema.py"))
    committed = (REPOSITORY / "docs" / "line.schema.json").read_text(encoding="utf-8")
    assert json.loads(committed) == json.loads(module["document"](SCHEMA)), "run: python docs/write_schema.py"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", examples())
def test_each_example_is_in_order_and_read_as_such(text: str, tmp_path: Path) -> None:
    assert faults(text) == []
    (tmp_path / "line.toml").write_text(text, encoding="utf-8")
    load_lines(tmp_path / "line.toml", {}, {})


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[source]\nuri = '0'\n", "$"),
        ("bundle = 'b'\n[source]\nwait = true\n", "$.source"),
        (LINE + "rotat = 90\n", "$.source"),
        (LINE + "wait = 'perhaps'\n", "$.source.wait"),
        (LINE + "[sinks.jsonl]\npth = 'x'\n", "$.sinks.jsonl"),
        (LINE + "[sinks.mine]\npath = 'x'\n", "$.sinks.mine"),
        (LINE + "[sinks.mine]\nkind = 'fax'\n", "$.sinks.mine"),
        (LINE + "[trigger]\nmode = 'often'\n", "$.trigger.mode"),
        (LINE + "[[line]]\n", "$.line[0]"),
        (LINE + "[[line]]\nname = 'left'\ndevic = 'CPU'\n", "$.line[0]"),
    ],
)
def test_what_an_editor_marks_is_refused_too(text: str, place: str, tmp_path: Path) -> None:
    assert place in faults(text)
    (tmp_path / "line.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        load_lines(tmp_path / "line.toml", {}, {})


def test_a_camera_may_be_its_number_and_a_sink_may_have_any_name() -> None:
    assert faults("bundle = 'b'\n[source]\nuri = 0\n[sinks.bad-parts]\nkind = 'archive'\nfolder = 'ng'\n") == []


def test_an_editor_shows_what_each_key_means() -> None:
    def bare(schema: dict[str, Any]) -> list[str]:
        return [key for key, facts in schema.get("properties", {}).items() if "description" not in facts]

    assert {name: bare(one) for name, one in {"": SCHEMA, **SCHEMA["$defs"]}.items() if bare(one)} == {}
    assert set(SCHEMA["properties"]["sinks"]["properties"]) == set(SINKS)
