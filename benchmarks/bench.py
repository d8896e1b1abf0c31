"""``make bench``: ours against anomalib 2.7.0 in one run on one machine, as ratios of medians.

Each row runs alone with ``--row NAME`` and checks that both sides did the same work before it prints a ratio.
The peer lives in a venv of its own (``benchmarks/peer.py``).
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import rows
from .peer import Peer
from .rows import Row

ROWS: dict[str, Callable[[Peer, Path], Row]] = {
    "coreset": rows.coreset,
    "import": rows.imported,
}


@dataclass(frozen=True)
class Machine:
    """Where the figures come from."""

    processor: str
    cores: int

    @classmethod
    def this(cls) -> Machine:
        """The machine the benchmark runs on."""
        import os

        name = platform.processor() or platform.machine()
        info = Path("/proc/cpuinfo")
        if info.is_file():
            models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
            name = models[0].split(":")[1].strip() if models else name
        return cls(name, os.cpu_count() or 1)


def table(results: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | ours | anomalib 2.7.0 | ratio | same work |", "|---|---|---|---|---|"]
    lines += [f"| {row.what} | {row.ours} | {row.peer} | {row.ratio:.1f}x | {row.check} |" for row in results]
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--row", choices=sorted(ROWS), help="run this row only")
    parser.add_argument("--peer-python", type=Path, help="a Python that has anomalib 2.7.0; installed if not given")
    parser.add_argument("--scratch", type=Path, default=Path("demo/bench"), help="folder for pools and models")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    peer = Peer(options.peer_python)
    machine = Machine.this()
    print(f"{machine.processor}, {machine.cores} cores, {platform.system()}, Python {platform.python_version()}")
    chosen = [options.row] if options.row else list(ROWS)
    print(table([ROWS[name](peer, options.scratch) for name in chosen]))


if __name__ == "__main__":
    main()
