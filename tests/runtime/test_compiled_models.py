"""Compiled models are a convenience: a damaged or a wrong one costs the time that it would have saved."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import bad_part, run_cli

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.inspection.compiled_models import CompiledModels


def entries(cache: Path) -> list[Path]:
    return [file for file in cache.rglob("*") if file.is_file() and file.name != "digests.json"]


@pytest.fixture
def cache(tiny_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Path:
    folder = tmp_path / "cache"
    Inspector(tiny_bundle, cache_dir=folder)
    assert entries(folder), "OpenVINO keeps its compiled models elsewhere"
    caplog.clear()
    Inspector(tiny_bundle, cache_dir=folder)
    assert not caplog.records
    return folder


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def other_weights(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4096] = bytes(4096)
    file.write_bytes(data)


def empty(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [half, other_weights, empty, Path.unlink])
def test_a_damaged_one_is_made_anew(
    damage: object, cache: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert callable(damage)
    for file in entries(cache):
        damage(file)
    inspector = Inspector(tiny_bundle, cache_dir=cache)
    assert inspector(bad_part()).verdict == "NG"
    assert "made anew" in caplog.text
    caplog.clear()
    Inspector(tiny_bundle, cache_dir=cache)
    assert not caplog.records


def test_a_wrong_one_is_found_by_the_self_test_and_made_anew(
    cache: Path, tiny_bundle: Path, int8_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a driver's update leaves it: whole, and of something else."""
    Inspector(int8_bundle, cache_dir=cache)
    first, second = sorted(cache.iterdir())
    (one,), (other,) = entries(first), entries(second)
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)
    for folder in (first, second):
        models = CompiledModels(cache, "x")
        models.folder = folder
        models.keep()
    with caplog.at_level(logging.WARNING):
        assert Inspector(tiny_bundle, cache_dir=cache)(bad_part()).verdict == "NG"
    assert Inspector(int8_bundle, cache_dir=cache)(bad_part()).verdict == "NG"
    assert caplog.text.count("made anew") == 2


def open_to_all(folder: Path) -> None:
    folder.chmod(0o777)


def of_another_user(folder: Path) -> None:
    os.chown(folder, 12345, -1)


def a_link(folder: Path) -> None:
    elsewhere = folder.parent.parent / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


@pytest.mark.skipif(sys.platform == "win32", reason="there a folder has the rights of the one that it is made in")
@pytest.mark.parametrize("change", [open_to_all, of_another_user, a_link])
def test_what_somebody_else_may_have_put_there_is_not_computed_with(
    change: Callable[[Path], None], cache: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whole, with all digests right, and of another graph: past the list of operations that a graph may have."""
    (folder,) = cache.iterdir()
    if change is of_another_user and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    (model,) = entries(cache)
    before = model.stat().st_mtime_ns
    assert folder.stat().st_mode & 0o777 == 0o700
    change(folder)
    assert Inspector(tiny_bundle, cache_dir=cache)(bad_part()).verdict == "NG"
    if change is open_to_all:
        assert "others could write there" in caplog.text
        assert folder.stat().st_mode & 0o777 == 0o700
        (model,) = entries(cache)
        assert model.stat().st_mtime_ns != before, "made anew"
        caplog.clear()
        Inspector(tiny_bundle, cache_dir=cache)
        assert not caplog.records
    else:
        assert "another user's, or a link" in caplog.text
        assert model.stat().st_mtime_ns == before
        assert {file.name for file in folder.iterdir()} == {model.name, "digests.json"}, "nothing is left there"


def test_what_else_is_in_the_folder_stays(tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    Inspector(tiny_bundle, cache_dir=tmp_path)
    for file in entries(tmp_path):
        if file.name != "mine":
            half(file)
    Inspector(tiny_bundle, cache_dir=tmp_path)
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_bad_bundle_is_not_blamed_on_the_cache(cache: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    image = tiny_bundle / "golden" / "0.png"
    config = tmp_path / "line.toml"
    config.write_text(f"bundle = '{tiny_bundle}'\ncache_dir = 'file'\n[source]\nuri = '{image}'\n")
    done = run_cli("check", "-c", config, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "cache_dir" in done.stderr


def test_those_of_bundles_opened_long_ago_are_removed_and_nothing_else_is(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, now = tmp_path / "cache", time.time()
    monkeypatch.setattr("patchcore_edge_runtime.inspection.compiled_models._MOST_GRAPHS", 100)
    for age in range(20):
        models = CompiledModels(cache, f"{age:032x}")
        (models.folder / "model.blob").write_bytes(b"x")
        models.keep()
        os.utime(models.folder, (now - age * 60, now - age * 60))
    ancient = [CompiledModels(cache, "a" * 32), CompiledModels(cache, "a" * 32, "bf16")]
    for models in ancient:
        models.keep()
        os.utime(models.folder, (now - 91 * 86_400, now - 91 * 86_400))
    monkeypatch.undo()
    for other in ("graph-of-somebody", "notes"):
        (cache / other).mkdir()
    # Opened again: younger than all.
    assert CompiledModels(cache, f"{19:032x}").prepare()
    Inspector(tiny_bundle, cache_dir=cache)
    left = {folder.name for folder in cache.iterdir()}
    assert {"graph-of-somebody", "notes", f"graph-{19:032x}"} <= left
    assert not left & {models.folder.name for models in ancient}
    assert len(left) == 16 + 2
    # Of the rest the youngest fourteen.
    assert {f"graph-{age:032x}" for age in range(14)} <= left
