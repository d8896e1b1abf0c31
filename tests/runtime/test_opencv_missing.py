"""A machine on which OpenCV cannot be loaded: one sentence with a remedy, in both programs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIBGL = "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')\n"


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command as a user runs it, with ``folder`` before all other places of packages."""
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def one_sentence(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(".")
    return line


@pytest.mark.parametrize(
    "words",
    [
        ("patchcore_edge_runtime", "run", "-m", "bundle", "-s", "0"),
        ("patchcore_edge_runtime", "info", "-m", "bundle"),
        ("patchcore_edge", "train", "data", "-o", "run"),
    ],
)
def test_a_missing_library_is_named_with_what_to_do(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(LIBGL)
    said = one_sentence(run(tmp_path, *words))
    assert "libGL.so.1 is missing on this machine" in said
    assert "apt-get install" in said
    assert "opencv-python-headless" in said


def package(folder: Path, name: str) -> None:
    """What pip leaves of an installed distribution."""
    info = folder / f"{name.replace('-', '_')}-4.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 4.0\n")


def test_two_packages_in_one_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(
        "raise ImportError('recursion is detected during loading of \"cv2\" binary extensions')\n"
    )
    package(tmp_path, "opencv-python-headless")
    said = one_sentence(run(tmp_path, "patchcore_edge_runtime", "info", "-m", "bundle"))
    assert "pip uninstall -y opencv-python opencv-python-headless" in said


def test_without_windows_the_remedy_is_not_what_is_there_already(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text("raise ModuleNotFoundError('No module named cv2', name='cv2')\n")
    code = (
        "from patchcore_edge_runtime import opencv_check as check\n"
        "check.opencv_packages = lambda: ['opencv-python-headless']\n"
        "print(check._explain('libgthread-2.0.so.0: cannot open'))\n"
        "print(check.explain_opencv())\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    library, gone = done.stdout.splitlines()
    assert "libgthread-2.0.so.0 is missing" in library
    assert "without windows" not in library
    assert "pip install --force-reinstall --no-deps opencv-python-headless" in gone


def test_version_and_help_need_no_opencv(tmp_path: Path) -> None:
    (tmp_path / "cv2.py").write_text(LIBGL)
    for word in ("--version", "--help"):
        done = run(tmp_path, "patchcore_edge_runtime", word)
        assert (done.returncode, done.stderr) == (0, "")


def test_a_fault_of_another_package_is_not_blamed_on_opencv(tmp_path: Path) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libtbb.so.12: cannot open shared object file')\n")
    done = run(tmp_path, "patchcore_edge_runtime", "devices")
    assert "OpenCV" not in done.stderr.splitlines()[-1]
    assert "libtbb" in done.stderr
