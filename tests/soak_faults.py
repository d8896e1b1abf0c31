"""Faults of the soak test that need more than the camera's switch: each by name, so that a run can choose.

``PATCHCORE_SOAK_FAULTS`` names those of a run, separated by commas; ``all`` is every one. Each states the line's
promise in ``expected`` or asserts it itself.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from runtime.test_soak import Life, Soak

CLOCK_STEP = 1e6
"""Seconds: so many that a record's time tells which clock it is of."""

CLOCK = """
import os, time
_real, _file = time.time, os.environ["PATCHCORE_SOAK_CLOCK"]
def _time():
    try:
        with open(_file, encoding="ascii") as file:
            return _real() + float(file.read() or 0)
    except (OSError, ValueError):
        return _real()
time.time = _time
"""
"""``sitecustomize`` of a line whose clock the test sets: the machine's own stays as it is."""

EXPECTED: Mapping[str, frozenset[str]] = {
    "noise": frozenset({"NG", "ERROR"}),
    "frozen": frozenset({"ERROR"}),
}
"""What may be said of what the camera shows during a fault."""

FROZEN_AFTER = 7.0
"""Seconds after which a camera that repeats its picture has to be found out."""


def set_clock(soak: Soak, offset: float) -> None:
    fresh = soak.folder / "clock.new"
    fresh.write_text(str(offset), encoding="ascii")
    fresh.replace(soak.folder / "clock")


def clock_environment(soak: Soak) -> dict[str, str]:
    """The environment of a line whose clock is ``soak.folder / "clock"``."""
    folder = soak.folder / "site"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(CLOCK, encoding="ascii")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PATCHCORE_SOAK_CLOCK": str(soak.folder / "clock"),
    }


def true_time(moment: float) -> float:
    """When something happened, whatever the line's clock said."""
    return moment - CLOCK_STEP * round((moment - time.time()) / CLOCK_STEP)


def clock_steps(soak: Soak, life: Life, rng: random.Random) -> None:
    """The clock jumps back and forth by days, and is right again."""
    for offset in (-CLOCK_STEP, CLOCK_STEP, 0.0):
        set_clock(soak, offset)
        since = time.time()
        time.sleep(rng.uniform(0.3, 0.8))
        life.wait_for_picture(since)


def descriptors_exhausted(soak: Soak, life: Life, rng: random.Random) -> None:
    """The line may open nothing more while its camera goes and comes back."""
    pid = life.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")), hard))  # noqa: PTH208
    try:
        soak.camera.stop()
        soak.show("off")
        time.sleep(rng.uniform(1.0, 2.0))
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    soak.show(soak.kind)
    soak.camera.start()


def frozen_frames(soak: Soak, _life: Life, rng: random.Random) -> None:
    """The very same picture again and again."""
    soak.frozen = soak.frame(rng.randrange(1000))
    soak.show("any")
    time.sleep(FROZEN_AFTER)
    soak.show("frozen")
    time.sleep(rng.uniform(1.0, 2.0))
    soak.frozen = None
    soak.show(soak.kind)


def noisy_frames(soak: Soak, _life: Life, rng: random.Random) -> None:
    """A sensor's noise and nothing else."""
    soak.show("noise")
    level, spread = rng.uniform(10, 230), rng.uniform(2, 40)
    noise = np.random.default_rng(rng.randrange(1000)).normal(level, spread, (8, soak.size, soak.size, 3))
    soak.noise = np.clip(noise, 0, 255).astype(np.uint8)
    time.sleep(rng.uniform(1.0, 2.0))
    soak.noise = None
    soak.show(soak.kind)


def folder_disappears(soak: Soak, _life: Life, rng: random.Random) -> None:
    """The folder of the archive goes, as a share does that is unmounted, and comes back."""
    kept, away = soak.folder / "kept", soak.folder / "kept.away"
    kept.rename(away)
    time.sleep(rng.uniform(0.5, 1.5))
    with suppress(OSError):  # the line may have made a new one meanwhile
        away.rename(kept)
    if away.exists():
        away.rename(soak.folder / f"kept.{time.monotonic_ns()}")


def slow_clients(soak: Soak, life: Life, rng: random.Random) -> None:
    """Half-sent requests, and viewers that never read; the health check is answered all the same."""
    with ExitStack() as stack:
        for number in range(28):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", soak.port), timeout=10))
            path, end = ("/live.mjpg", "\r\n") if number < 8 else ("/status", "")
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{end}".encode())
        time.sleep(rng.uniform(0.5, 1.5))
        life.wait_for_picture(time.time())
        with urllib.request.urlopen(f"http://127.0.0.1:{soak.port}/healthz", timeout=10) as answer:
            assert answer.status == 200


def spool_damaged(soak: Soak, _life: Life, rng: random.Random) -> None:
    """A disk returns nonsense for the spool; found at the next start at the latest, and it starts."""
    damage(soak.folder / "spool.db", rng)


def damage(path: Path, rng: random.Random) -> None:
    with suppress(FileNotFoundError), path.open("r+b") as file:
        file.seek(rng.randrange(100))
        file.write(rng.randbytes(2000))


class Fault(NamedTuple):
    """A fault by name.

    Attributes:
        make: from the world, the line and the dice; returns when it is over.
        loses: whether the source is lost meanwhile, and the time to its return counts.
    """

    make: Callable[[Soak, Life, random.Random], None]
    loses: bool = False


NAMED = {
    "clock steps": Fault(clock_steps),
    "descriptors exhausted": Fault(descriptors_exhausted, loses=True),
    "frozen frames": Fault(frozen_frames),
    "noisy frames": Fault(noisy_frames),
    "folder disappears": Fault(folder_disappears),
    "slow clients": Fault(slow_clients),
    "spool damaged": Fault(spool_damaged),
}


def chosen(names: str) -> dict[str, Fault]:
    """The faults of a run: those that are named, separated by commas; all where none is, or ``all`` is."""
    named = [name.strip() for name in names.split(",") if name.strip()]
    wanted = NAMED if named in ([], ["all"]) else named
    return {name: NAMED[name] for name in wanted}
