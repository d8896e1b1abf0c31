"""What an installation downloads and what it takes on disk, by part: ``python -m benchmarks.install_size``.

Nothing is installed: pip says what it would take (``--dry-run --report``), and each file's server its length. Sizes on
disk are those of what is installed here. ``README.md``, ``docs/start.md`` and ``.ci/install.py`` name the sums.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.parse
import urllib.request
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "line PC: ./runtime": ["./runtime"],
    "line PC with all sinks and video": ["./runtime[http,modbus,mqtt,video]"],
    "host: ./runtime '.[export,weights]'": ["./runtime", ".[export,weights]"],
    "make demo": ["./runtime", ".[export,demo]"],
    "make venv, with the tools": ["./runtime", ".[export,demo,dev]"],
}
GPU_ONLY = ("nvidia-", "triton", "cuda-")
"""Begin the names of what torch's builds for CUDA bring, and its builds for CPUs do not."""
CPU_TORCH = (191_794_682, 698_003_934)
"""Bytes to download and on disk of torch 2.13.0+cpu, for Linux on x86-64 and Python 3.11."""


def wanted(requirements: list[str]) -> dict[str, str]:
    """Distribution → URL of the file that pip would install into an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run([*command, *requirements], cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    return {canonicalize_name(one["metadata"]["name"]): one["download_info"]["url"] for one in report["install"]}


def download_bytes(url: str) -> int:
    """Length of a file; 0 of a folder, which is this checkout."""
    parsed = urllib.parse.urlparse(url)
    if parsed.scheme == "file":
        path = Path(urllib.request.url2pathname(parsed.path))
        return path.stat().st_size if path.is_file() else 0
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=30) as answer:
        return int(answer.headers["Content-Length"])


def disk_bytes(name: str) -> int | None:
    """Bytes of an installed distribution; None where it is not here."""
    try:
        return sum(file.size or 0 for file in distribution(name).files or ())
    except PackageNotFoundError:
        return None


def gpu_only(name: str) -> bool:
    return name.startswith(GPU_ONLY)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lengths: dict[str, int] = {}
    print("| what | packages | download, disk | without a GPU: packages | download, disk |")
    print("|---|---|---|---|---|")
    for part, requirements in PARTS.items():
        found = wanted(requirements)
        lengths |= {name: download_bytes(url) for name, url in found.items() if name not in lengths}
        sizes = {name: (lengths[name], disk_bytes(name) or 0) for name in found}
        lean = {name: size for name, size in sizes.items() if not gpu_only(name)}
        if "torch" in lean:
            lean["torch"] = CPU_TORCH
        print(f"| {part} | {len(sizes)} | {_sums(sizes)} | {len(lean)} | {_sums(lean)} |", flush=True)
        if missing := [name for name in found if disk_bytes(name) is None]:
            print(f"not here, so not counted on disk: {', '.join(missing)}", file=sys.stderr)
    largest = sorted(lengths, key=lambda name: -(disk_bytes(name) or 0))[:12]
    print("\nThe largest on disk:", ", ".join(f"{name} {(disk_bytes(name) or 0) / 1e6:,.0f} MB" for name in largest))


def _sums(sizes: dict[str, tuple[int, int]]) -> str:
    download, disk = (sum(size[place] for size in sizes.values()) / 1e6 for place in (0, 1))
    return f"{download:,.0f} MB, {disk:,.0f} MB"


if __name__ == "__main__":
    main()
