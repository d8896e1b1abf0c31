"""Exporting again gives the same bytes, and an export that is killed gives no bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_runtime.bundle.bundle import MANIFEST, Bundle
from patchcore_edge_runtime.errors import CheckpointError

KILLED = """
import os, signal, sys
from pathlib import Path
from patchcore_edge_export import bundle
from patchcore_edge_export.build import GraphOptions

def die(*words, **more):
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

setattr(bundle, sys.argv[1], die)
bundle.export_bundle(Path(sys.argv[2]), Path(sys.argv[3]), GraphOptions())
"""


def files(bundle: Path) -> dict[str, bytes]:
    paths = [path for path in bundle.rglob("*") if path.is_file()]
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in paths}


def undated(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    assert document.pop("created")
    assert document.pop("digest")
    return document


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_exporting_again_gives_the_same_bytes_but_for_the_date(tiny_run: Path, tmp_path: Path, precision: Any) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    for folder in (first, again):
        # What the gate finds about half precisions, where the CPU has any, is in the manifest too.
        export_bundle(tiny_run, folder, GraphOptions(precision=precision))
    one, two = files(first), files(again)
    del one[MANIFEST], two[MANIFEST]
    assert one == two
    assert undated(first) == undated(again)


def test_a_killed_export_leaves_the_earlier_bundle(tiny_run: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    target.mkdir()
    for name, content in files(tiny_bundle).items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_bytes(content)
    for moment in ("build_graph", "write_manifest"):
        command = [sys.executable, "-c", KILLED, moment, str(tiny_run), str(target)]
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
        assert Bundle.load(target).manifest == Bundle.load(tiny_bundle).manifest
        left = [path.name for path in tmp_path.iterdir() if path != target]
        assert len(left) == 1  # the next export has cleared the one before
        assert left[0].startswith(".")
        assert left[0].endswith(".part")


def test_another_runs_folder_is_not_taken_for_a_bundle(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="choose another place"):
        export_bundle(tiny_run, tmp_path, GraphOptions())
    assert (tmp_path / "notes.txt").read_text() == "mine"
