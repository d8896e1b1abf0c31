"""anomalib 2.7.0 in a venv of its own, outside the project, and the way to run a task there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any

VERSION = "2.7.0"
ROOT = Path(__file__).resolve().parents[1]


def default_folder() -> Path:
    """Where the peer's venv is kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "patchcore-edge" / "peer"


class Peer:
    """A Python that has anomalib.

    Args:
        python: an interpreter to use; by default one is made in ``default_folder`` with this machine's torch version.
    """

    def __init__(self, python: Path | None = None) -> None:
        self.python = python or self._install(default_folder())

    def run(self, task: str, **arguments: Any) -> dict[str, Any]:
        """Run a task of ``peer_tasks.py`` and return the JSON it ends with, with ``process_seconds`` added."""
        start = time.perf_counter()
        words = [str(self.python), "-m", "benchmarks.peer_tasks", task, json.dumps(arguments, default=str)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            sys.exit(f"The peer failed at {task}:\n{done.stderr[-2000:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return {**answer, "process_seconds": time.perf_counter() - start}

    @staticmethod
    def _install(folder: Path) -> Path:
        python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        wanted, installed = _packages(), folder / "installed.json"
        # A folder that an interrupted call left, or another version of torch, is not what is asked for.
        if not installed.exists() or json.loads(installed.read_text(encoding="utf-8")) != wanted:
            print(f"Installing anomalib {VERSION} into {folder} …")
            if not python.exists():
                venv.create(folder, with_pip=True)
            for packages in wanted:
                subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
            installed.write_text(json.dumps(wanted), encoding="utf-8")
        return python


def _packages() -> list[list[str]]:
    """What is installed, in turns: this machine's torch first, so that the peer takes the same."""
    import openvino
    import torch
    import torchvision

    pins = [f"{module.__name__}=={module.__version__.split('+')[0]}" for module in (torch, torchvision)]
    return [pins, [f"anomalib=={VERSION}", f"openvino=={openvino.__version__.split('-')[0]}", "onnx", "onnxscript"]]
