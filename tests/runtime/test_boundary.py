"""The runtime stands alone: its wheel, in a venv of its own, without the host or anything the host needs."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from conftest import REPOSITORY

FORBIDDEN = ("torch", "torchvision", "timm", "onnx", "nncf", "matplotlib", "patchcore_edge", "patchcore_edge_export")

INSPECT_ALONE = """
import importlib, importlib.util, json, pkgutil, sys
import patchcore_edge_runtime as package
for module in pkgutil.walk_packages(package.__path__, "patchcore_edge_runtime."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.sources import read_image
result = Inspector(sys.argv[1])(read_image(sys.argv[2]))
names = json.loads(sys.argv[3])
print(json.dumps({
    "verdict": result.verdict,
    "score": result.pred_score,
    "installed": [name for name in names if importlib.util.find_spec(name)],
    "imported": [name for name in names if name in sys.modules],
}))
"""


@pytest.fixture(scope="session")
def lonely_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the built runtime wheel and what the wheel asks for, and nothing else."""
    root = tmp_path_factory.mktemp("alone")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(root / "dist")]
    subprocess.run(build, cwd=REPOSITORY / "runtime", check=True, capture_output=True)
    (wheel,) = (root / "dist").glob("*.whl")
    venv.create(root / "venv", with_pip=True)
    python = root / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
    done = subprocess.run(install, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return python


def test_the_wheel_alone_inspects_and_nothing_of_the_host_is_there(
    lonely_python: Path, tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    image = tiny_data / "test" / "scratch" / "000.png"
    words = [str(lonely_python), "-c", INSPECT_ALONE, str(tiny_bundle), str(image), json.dumps(FORBIDDEN)]
    # From another folder and without PYTHONPATH: the checkout must not be found by accident.
    done = subprocess.run(words, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "NG"
    assert report["installed"] == []
    assert report["imported"] == []


def test_the_wheels_command_line_answers(lonely_python: Path, tmp_path: Path) -> None:
    words = [str(lonely_python), "-m", "patchcore_edge_runtime", "--help"]
    done = subprocess.run(words, cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Inspect camera frames" in done.stdout
