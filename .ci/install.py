"""Install this checkout into an environment: ``python .ci/install.py .venv export,demo``; the Makefile calls it.

torch comes as PyTorch's build for CPUs where no NVIDIA driver is found: the package index's build for Linux brings
2.5 GB of libraries for GPUs. ``TORCH=`` in the environment decides otherwise: ``cpu``, ``xpu``, ``cu130`` … (indexes of
PyTorch), or ``default`` (the package index).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTORCH = "https://download.pytorch.org/whl/"
LEAN, FULL = "0.7 GB, 2 GB on disk", "3.5 GB, 6.7 GB on disk"
"""To download; measured by ``python -m benchmarks.install_size``."""


def wanted_torch(choice: str) -> str:
    """``default``, or the name of one of PyTorch's indexes."""
    if choice != "auto":
        return choice
    # Elsewhere the package index's build is one for CPUs.
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return "default"
    nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi")
    return "default" if nvidia else "cpu"


def pip(python: Path, *words: str) -> int:
    """Run pip; returns its exit code."""
    command = [str(python), "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def has_torch(python: Path) -> bool:
    """Whether torch and torchvision are there, and of one build: those of two cannot be imported."""
    done = subprocess.run([str(python), "-c", "import torch, torchvision"], check=False, capture_output=True)
    return done.returncode == 0


def install_torch(python: Path, choice: str) -> None:
    """From one of PyTorch's indexes; where that fails the package index's build comes with the rest, and it is said."""
    name = wanted_torch(choice)
    if has_torch(python):
        print("torch is there and stays as it is; `make clean` first for another build.")
        return
    size = FULL if name == "default" else LEAN
    print(f"Installing torch from {'the package index' if name == 'default' else PYTORCH + name}, and the rest:")
    print(
        f"about {size}; minutes, by your connection. TORCH=default, cpu, xpu or cu130 chooses torch's build.",
        flush=True,
    )
    if name == "default":
        return
    url = PYTORCH + name
    source = ("--index-url", url, "--retries", "1", "--timeout", "20")
    if pip(python, "install", *source, "torch>=2.9", "torchvision>=0.24") or not has_torch(python):
        if choice != "auto":
            sys.exit(f"error: {url} has no torch for this Python; choose another TORCH=, or TORCH=default.")
        pip(python, "uninstall", "--yes", "torch", "torchvision")
        print(f"PyTorch's index gave none that works; taking the package index's build: about {FULL}.", flush=True)


def main() -> None:
    folder, extras = Path(sys.argv[1]), sys.argv[2]
    start = time.monotonic()
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        venv.create(folder, with_pip=True)
    install_torch(python.absolute(), os.environ.get("TORCH", "auto"))
    code = pip(python.absolute(), "install", "-e", "./runtime", "-e", f".[{extras}]")
    if code:
        sys.exit(code)
    size = sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    print(f"{folder} has {size / 1e9:.1f} GB now, after {time.monotonic() - start:.0f} s.")


if __name__ == "__main__":
    main()
