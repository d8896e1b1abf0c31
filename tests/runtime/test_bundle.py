"""Bundles on disk: replaced whole, never found half written, and loud when the gate was overruled."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patchcore_edge_runtime.atomic_folder import atomic_folder
from patchcore_edge_runtime.bundle.bundle import MANIFEST, Bundle
from patchcore_edge_runtime.bundle.manifest import manifest_digest
from patchcore_edge_runtime.errors import CheckpointError
from patchcore_edge_runtime.serving.served_bundle import ServedBundle, pack

# Writes a folder and is killed on the way: before anything is in it, half way, and between the two renames.
KILLED = """
import os, signal, sys
from pathlib import Path
from patchcore_edge_runtime.atomic_folder import atomic_folder

def die():
    os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

moment, target = sys.argv[1], Path(sys.argv[2])
rename, renames = Path.rename, []

def rename_or_die(self, other):
    if moment == "between the renames" and renames:
        die()
    renames.append(other)
    return rename(self, other)

Path.rename = rename_or_die
with atomic_folder(target, "marker") as fresh:
    if moment == "at the start":
        die()
    (fresh / "marker").write_text("new")
    if moment == "half way":
        die()
    (fresh / "rest").write_text("new")
"""


@pytest.mark.parametrize("earlier", [True, False], ids=["over an earlier one", "for the first time"])
@pytest.mark.parametrize("moment", ["at the start", "half way", "between the renames"])
def test_a_killed_writer_leaves_no_half_folder(tmp_path: Path, moment: str, earlier: bool) -> None:
    target = tmp_path / "bundle"
    if earlier:
        target.mkdir()
        (target / "marker").write_text("old")
    died = subprocess.run([sys.executable, "-c", KILLED, moment, str(target)], check=False).returncode
    between = moment == "between the renames"
    if between and not earlier:
        assert died == 0  # there is only one rename, and that is the moment it becomes visible
        assert (target / "rest").read_text() == "new"
        return
    assert died != 0
    assert target.exists() == (earlier and not between)
    assert all(path.name.startswith(".") for path in tmp_path.iterdir() if path != target)
    # The next writer finds the earlier folder again, fails on purpose, and leaves nothing of either try.
    with pytest.raises(RuntimeError, match="on purpose"), atomic_folder(target, "marker"):
        raise RuntimeError("on purpose")
    assert [path.name for path in tmp_path.iterdir()] == (["bundle"] if earlier else [])
    assert not earlier or (target / "marker").read_text() == "old"


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    with pytest.raises(CheckpointError, match="choose another place"), atomic_folder(tmp_path, "marker"):
        pass
    assert (tmp_path / "precious").read_text() == "data"


@pytest.fixture
def forced_bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "forced"))
    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    document["parity"] |= {"passed": False, "failures": ["image AUROC falls from 0.99 to 0.70"]}
    document["digest"] = manifest_digest(document)
    (bundle / MANIFEST).write_text(json.dumps(document), encoding="utf-8")
    return bundle


def test_a_bundle_that_was_forced_warns_at_every_start(forced_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            Bundle.load(forced_bundle)
        assert "--force" in caplog.text
        assert "image AUROC falls from 0.99 to 0.70" in caplog.text


def test_so_does_one_that_comes_from_a_server(forced_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    archive = pack(Bundle.load(forced_bundle))
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ServedBundle.unpack(archive, "line3")
    assert "line3 was exported with --force" in caplog.text


def test_the_info_command_warns_of_a_forced_bundle_on_stderr(forced_bundle: Path) -> None:
    command = [sys.executable, "-m", "patchcore_edge_runtime", "info", "-m", str(forced_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--force" in done.stderr
    assert json.loads(done.stdout)["parity"]["passed"] is False
