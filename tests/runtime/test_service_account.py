"""A user without a name and a home, files of somebody else, names that no file may have: a sentence and a code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run_cli

from patchcore_edge_runtime import Bundle, BundleError

NOBODY = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]


def as_nobody(*words: object) -> subprocess.CompletedProcess[str]:
    """Run a command as a user whom the system does not know: no name, no home, no rights beyond its own."""
    if (
        shutil.which("unshare") is None
        or subprocess.run([*NOBODY, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("needs the program unshare, and the right to use it")
    path = f"PYTHONPATH={':'.join(sys.path)}"
    program = ["env", "-i", path, sys.executable, "-m", "patchcore_edge_runtime"]
    command = [*NOBODY, *program, *(str(word) for word in words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_a_user_without_a_name_or_a_home_inspects(tiny_bundle: Path, tmp_path: Path) -> None:
    words = ("predict", "-m", tiny_bundle, "-s", tiny_bundle / "golden" / "0.png", "-o", tmp_path / "out")
    done = as_nobody(*words)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "results.jsonl").is_file()


@pytest.mark.parametrize("closed", [".", "manifest.json", "model.bin", "model.xml", "golden", "golden/0.png"])
def test_a_bundle_that_the_user_may_not_read(closed: str, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    (bundle / closed).chmod(0)
    try:
        done = as_nobody("info", "-m", bundle)
    finally:
        (bundle / closed).chmod(0o700)
    assert done.returncode == 4
    assert done.stderr.count("\n") == 1
    assert str(bundle) in done.stderr
    assert "the user with the number 54321" in done.stderr
    assert "Permission denied" in done.stderr


def test_a_line_file_that_the_user_may_not_read(tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    config.write_text("bundle = 'b'\n")
    config.chmod(0)
    done = as_nobody("check", "-c", config)
    assert done.returncode == 2
    assert "the user with the number 54321" in done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("info", "-m", "x" * 5000), 4),
        (("info", "-m", "x/" * 3000), 4),
        (("check", "-c", "x" * 5000), 2),
        (("predict", "-m", "BUNDLE", "-s", "x" * 5000, "-o", "out"), (2, 3)),
        (("predict", "-m", "BUNDLE", "-s", "golden/0.png", "-o", "x" * 5000), 2),
        (("edit", "x" * 5000, "--by", "Ada", "--image-threshold", "1"), 4),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_name_too_long_is_a_sentence(
    words: tuple[str, ...],
    code: int | tuple[int, ...],
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(tiny_bundle / "golden", tmp_path / "golden")
    done = run_cli(
        *(str(tiny_bundle) if word == "BUNDLE" else word for word in words), program="patchcore_edge_runtime"
    )
    assert done.returncode in (code if isinstance(code, tuple) else (code,)), done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert len(done.stderr) < 1000


def test_links_in_a_circle_are_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(BundleError):
        Bundle.load(tmp_path / "a")
