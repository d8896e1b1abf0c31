"""Names that are no UTF-8 reach every place where records go, as text."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from line_records import free_port, make_record, wait_for

from patchcore_edge_runtime.path_text import path_from_text
from patchcore_edge_runtime.sinks import SinkContext, open_sinks
from patchcore_edge_runtime.sinks.registry import read_table
from patchcore_edge_runtime.verdict import Verdict

pytest.importorskip("uvicorn", reason="needs the package uvicorn")
NAME = os.fsdecode(b"Pr\xfcfling_7.png") if sys.platform != "win32" else "Pr\udcfcfling_7.png"


def test_a_name_that_is_no_utf8_is_kept_by_every_sink(tmp_path: Path) -> None:
    port = free_port()
    tables = {
        "jsonl": {"path": "r.jsonl"},
        "sqlite": {"path": "r.db"},
        "archive": {"folder": "ng"},
        "mqtt": {"port": free_port(), "spool": "spool.db", "flush_seconds": 0.1},
        "http": {"port": port},
    }
    context = SinkContext(folder=tmp_path)
    group = open_sinks({name: read_table(name, table) for name, table in tables.items()}, context)
    record = make_record(Verdict.NG, size=(64, 48))
    group.write(replace(record, frame=replace(record.frame, name=NAME, part=NAME)))
    wait_for(lambda: all(sink.written == 1 for sink in context.status.snapshot().sinks.values()))
    for path in ("results", "status"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}") as answer:
            found = json.loads(answer.read())
        assert path_from_text((found if path == "results" else found["results"])[0]["name"]) == NAME
    group.close()
    assert path_from_text(json.loads((tmp_path / "r.jsonl").read_text(encoding="utf-8"))["name"]) == NAME
    database = sqlite3.connect(tmp_path / "r.db")
    assert path_from_text(database.execute("SELECT name FROM results").fetchone()[0]) == NAME
    database.close()
    (facts,) = (tmp_path / "ng").rglob("*.json")
    assert path_from_text(json.loads(facts.read_text(encoding="utf-8"))["part"]) == NAME
