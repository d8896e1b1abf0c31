"""A line for a while, on a camera over HTTP that has every fault there is, stopped and started at random.

Minutes by default; ``make soak MINUTES=60`` runs it longer and writes its figures to docs/reliability.md. Faults are
chosen by ``PATCHCORE_SOAK_FAULTS`` (see ``soak_faults``).
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soak_faults
from conftest import bad_part, good_part
from line_records import free_port
from mjpeg_server import MjpegServer

from patchcore_edge_runtime import Inspector, __version__

MINUTES = float(os.environ.get("PATCHCORE_SOAK_MINUTES", "2"))
REPORT = os.environ.get("PATCHCORE_SOAK_REPORT", "")
CHOSEN = soak_faults.chosen(os.environ.get("PATCHCORE_SOAK_FAULTS", ""))
READ_TIMEOUT, MAX_BACKOFF = 1.0, 1.0
# What the documentation states: the pause between two attempts, and the time to open a connection and get a frame.
RECONNECT_LIMIT = MAX_BACKOFF + 2.0
# Frames on their way while the camera changes what it shows.
SETTLE = 0.5
KINDS = {"good": "OK", "bad": "NG"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60 * MINUTES + 900),
    pytest.mark.skipif(sys.platform == "win32", reason="sends SIGTERM, which Windows has no equal of"),
]


FLAT = """
import json, sys
from pathlib import Path
import numpy as np
from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.line.loop import run_loop
from patchcore_edge_runtime.sinks import ArchiveSink, JsonlSink
from patchcore_edge_runtime.sources import IterableSource, read_image
from patchcore_edge_runtime.system import resident_memory
bundle, folder, good, bad, marks = sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4], json.loads(sys.argv[5])
good, bad = read_image(good), read_image(bad)
seen = []
def frames():
    for number in range(marks[-1] + 1):
        if number in marks:
            seen.append(resident_memory())
        yield None if number % 97 == 5 else bad if number % 50 == 7 else np.roll(good, number % 3, axis=1)
sinks = [JsonlSink(folder / "results.jsonl", max_bytes=1 << 20, keep=1), ArchiveSink(folder / "archive", 1 << 20)]
status = run_loop(IterableSource(frames()), Inspector(bundle), sinks)
print(json.dumps({"seen": seen, **status.snapshot().summary()}))
"""


@dataclass
class Soak:
    """The line's world, and what was seen of it.

    Attributes:
        shown: what the camera showed since when, as (time, kind); ``off`` is nothing, ``any`` is not checked.
        figures: for the report.
    """

    folder: Path
    camera: MjpegServer
    pictures: dict[tuple[str, int], list[np.ndarray]]
    disk: Path | None
    refusing: threading.Event = field(default_factory=threading.Event)
    shown: list[tuple[float, str]] = field(default_factory=list)
    figures: Counter[str] = field(default_factory=Counter)
    reconnects: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    losses: int = 0
    kind: str = "good"
    size: int = 80
    port: int = field(default_factory=free_port)
    frozen: np.ndarray | None = None
    noise: np.ndarray | None = None

    def show(self, kind: str) -> None:
        self.shown.append((time.time(), kind))
        if kind in KINDS:
            self.kind = kind

    def frame(self, number: int) -> np.ndarray:
        if self.frozen is not None:
            return self.frozen
        pictures = self.noise if self.noise is not None else self.pictures[self.kind, self.size]
        return pictures[number % len(pictures)]


@pytest.fixture(scope="module")
def pictures(tiny_bundle: Path) -> dict[tuple[str, int], list[np.ndarray]]:
    """Parts whose verdict is known, as it is after JPEG."""
    inspector = Inspector(tiny_bundle)
    found: dict[tuple[str, int], list[np.ndarray]] = {}
    for kind, make in (("good", good_part), ("bad", bad_part)):
        for size in (80, 120):
            parts = [make(seed, size=size) for seed in range(60)]
            verdicts = [inspector(cv2.imdecode(cv2.imencode(".jpg", one)[1], 1)).verdict for one in parts]
            found[kind, size] = [one for one, got in zip(parts, verdicts, strict=True) if got == KINDS[kind]]
            assert len(found[kind, size]) >= 5, (kind, size, verdicts)
    return found


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of 2 MiB; None where this process may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def webhook(soak: Soak) -> Iterator[str]:
    """A receiver that refuses while told to, and counts what it took."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            refuses = soak.refusing.is_set()
            soak.figures["webhook received"] += not refuses
            self.send_response(500 if refuses else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/results"
    server.shutdown()
    server.server_close()


def line_file(soak: Soak, bundle: Path, hook: str) -> Path:
    spool = (
        f"[sinks.mqtt]\nport = {free_port()}\nspool = '{soak.folder / 'spool.db'}'\nflush_seconds = 0.1\n"
        if "spool damaged" in CHOSEN
        else ""
    )
    text = f"""
bundle = '{bundle}'
[source]
uri = '{soak.camera.url}'
wait = true
open_timeout = {READ_TIMEOUT}
read_timeout = {READ_TIMEOUT}
max_backoff = {MAX_BACKOFF}
[sinks.webhook]
url = '{hook}'
retries = 0
[sinks.http]
port = {soak.port}
[sinks.sqlite]
path = '{soak.folder / "r.db"}'
[sinks.jsonl]
path = '{(soak.disk or soak.folder) / "small.jsonl"}'
max_mb = 0.5
keep = 1
[sinks.archive]
folder = '{soak.folder / "kept"}'
max_mb = 2
verdicts = ['OK', 'WARN', 'NG', 'ERROR']
{spool}"""
    path = soak.folder / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


class Life:
    """The line from one start to the SIGTERM that ends it."""

    def __init__(self, soak: Soak, config: Path, number: int) -> None:
        self.soak = soak
        self.results = soak.folder / f"life{number}.jsonl"
        words = ["run", "-c", str(config), "--results", str(self.results), "--json"]
        command = [sys.executable, "-m", "patchcore_edge_runtime", *words]
        self._log = (soak.folder / f"life{number}.log").open("w")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._log, text=True, env=soak_faults.clock_environment(soak)
        )
        self.started = time.time()

    def records(self) -> list[dict[str, Any]]:
        lines = self.results.read_bytes().splitlines() if self.results.is_file() else []
        return [json.loads(line) for line in lines]

    def wait_for_picture(self, since: float) -> float:
        """When the first judged frame after ``since`` was captured."""
        end = time.time() + 60
        while time.time() < end:
            assert self.process.poll() is None, Path(self._log.name).read_text()
            for record in reversed(self.records()):
                moment = soak_faults.true_time(record["time"])
                if moment < since:
                    break
                if record["verdict"] != "ERROR":
                    return moment
            time.sleep(0.05)
        pytest.fail(f"no picture for a minute: {Path(self._log.name).read_text()}")

    def resident(self) -> None:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        self.soak.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        self._log.close()
        assert self.process.returncode == 0, Path(self._log.name).read_text()
        self.check(json.loads(out))

    def check(self, summary: dict[str, Any]) -> None:
        """Nothing claimed that is not there, nothing there that was not shown."""
        records = self.records()
        assert summary["frames"] == len(records)
        assert [record["frame"] for record in records] == list(range(len(records)))
        for name, counts in summary["sinks"].items():
            assert counts["written"] + counts["dropped"] + counts["failed"] == len(records), (name, counts)
            self.soak.figures[f"{name} written"] += counts["written"]
            self.soak.figures[f"{name} refused"] += counts["failed"]
            self.soak.figures[f"{name} dropped"] += counts["dropped"]
        assert summary["sinks"]["results"]["failed"] == summary["sinks"]["results"]["dropped"] == 0
        for record in records:
            self.soak.figures[record["verdict"]] += 1
            expected = kind_at(self.soak.shown, soak_faults.true_time(record["time"]))
            if expected in soak_faults.EXPECTED:
                assert record["verdict"] in soak_faults.EXPECTED[expected], (expected, record)
            elif record["verdict"] != "ERROR" and expected != "any":
                assert expected in KINDS, f"a verdict while there was nothing to see: {record}"
                assert record["verdict"] == KINDS[expected], record
        self.soak.figures["frames passed over"] += summary["dropped"]
        self.soak.figures["lives"] += 1


def kind_at(shown: list[tuple[float, str]], moment: float) -> str:
    """What the camera showed; ``any`` within ``SETTLE`` seconds of a change."""
    kind = "off"
    for since, what in shown:
        if since <= moment:
            kind = "any" if moment < since + SETTLE else what
    return kind


def switched_off(soak: Soak, rng: random.Random) -> None:
    soak.camera.stop()
    soak.show("off")
    time.sleep(rng.uniform(2.0, 4.0))
    soak.show(soak.kind)
    soak.camera.start()


def stalled(soak: Soak, rng: random.Random) -> None:
    soak.camera.stalled.set()
    soak.show("off")
    time.sleep(rng.uniform(2.0, 4.0))
    soak.show(soak.kind)
    soak.camera.stalled.clear()


def corrupted(soak: Soak, rng: random.Random) -> None:
    soak.camera.corrupt.set()
    soak.show("off")
    time.sleep(rng.uniform(1.0, 2.0))
    soak.show(soak.kind)
    soak.camera.corrupt.clear()


def resized(soak: Soak, _rng: random.Random) -> None:
    soak.size = 200 - soak.size


def other_part(soak: Soak, _rng: random.Random) -> None:
    soak.show("bad" if soak.kind == "good" else "good")


def receiver_refuses(soak: Soak, rng: random.Random) -> None:
    soak.refusing.set()
    time.sleep(rng.uniform(0.5, 2.0))
    soak.refusing.clear()


def disk_full(soak: Soak, rng: random.Random) -> None:
    if soak.disk is None:
        soak.figures["disk full: skipped, no file system may be mounted here"] = 1
        return
    filler = soak.disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            time.sleep(rng.uniform(0.5, 1.5))
    filler.unlink()


def results_deleted(soak: Soak, rng: random.Random) -> None:
    for path in ((soak.disk or soak.folder) / "small.jsonl", soak.folder / "r.db"):
        if rng.random() < 0.5:
            path.unlink(missing_ok=True)
        elif path.exists():
            path.rename(path.with_name("moved"))


def database_locked(soak: Soak, rng: random.Random) -> None:
    with closing(sqlite3.connect(soak.folder / "r.db", isolation_level=None)) as other, suppress(sqlite3.Error):
        other.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1.0, 3.0))
        other.execute("COMMIT")


def database_damaged(soak: Soak, rng: random.Random) -> None:
    path = soak.folder / "r.db"
    with suppress(FileNotFoundError), path.open("r+b") as file:
        file.seek(rng.randrange(100))
        file.write(b"\xff" * 10_000)


def idle_clients(soak: Soak, _rng: random.Random) -> None:
    with ExitStack() as stack:
        for number in range(200):
            with suppress(OSError):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", soak.port), timeout=10))
                client.sendall(b"GET /status HTTP/1.1\r\n" if number % 2 else b"")
        with urllib.request.urlopen(f"http://127.0.0.1:{soak.port}/healthz", timeout=10) as answer:
            assert answer.status == 200


def own(make: Callable[[Soak, random.Random], None], *, loses: bool = False) -> soak_faults.Fault:
    return soak_faults.Fault(lambda soak, _life, rng: make(soak, rng), loses)


FAULTS = {
    "switched off": own(switched_off, loses=True),
    "stalled": own(stalled, loses=True),
    "corrupted": own(corrupted),
    "resized": own(resized),
    "other part": own(other_part),
    "receiver refuses": own(receiver_refuses),
    "disk full": own(disk_full),
    "results deleted": own(results_deleted),
    "database locked": own(database_locked),
    "database damaged": own(database_damaged),
    "idle clients": own(idle_clients),
    **CHOSEN,
}


@pytest.fixture(scope="module")
def flat(tiny_bundle: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, int]:
    """Resident bytes of a loop after 1,000 and after 20,000 frames, a rotating log and a bounded archive beside it."""
    good, bad = (str(tiny_data / "test" / kind / "000.png") for kind in ("good", "scratch"))
    folder = str(tmp_path_factory.mktemp("flat"))
    command = [sys.executable, "-c", FLAT, str(tiny_bundle), folder, good, bad, json.dumps([1000, 20000])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["frames"] == 20001
    early, late = facts["seen"]
    return early, late


def test_memory_is_flat_from_the_1000th_to_the_20000th_frame(flat: tuple[int, int]) -> None:
    early, late = flat
    print(f"memory after 1,000 frames {early / 2**20:.1f} MiB, after 20,000 {late / 2**20:.1f} MiB")
    assert late < early * 1.05


def test_a_line_under_every_fault_invents_nothing_and_loses_nothing(
    tiny_bundle: Path, pictures: dict[tuple[str, int], list[np.ndarray]], flat: tuple[int, int], tmp_path: Path
) -> None:
    rng = random.Random(0)
    with small_disk(tmp_path / "disk") as disk:
        camera = MjpegServer(lambda number: soak.frame(number), pause=0.02)  # noqa: PLW0108 - soak comes after
        soak = Soak(tmp_path, camera, pictures, disk)
        soak.show("good")
        start = time.monotonic()
        with webhook(soak) as hook:
            config = line_file(soak, tiny_bundle, hook)
            while soak.figures["lives"] < 2 or time.monotonic() - start < 60 * MINUTES:
                one_life(soak, config, rng)
        camera.stop()
        minutes = (time.monotonic() - start) / 60
    assert soak.figures["OK"] > 0
    assert soak.figures["NG"] > 0
    assert soak.figures["webhook refused"] > 0
    assert soak.figures["webhook received"] >= soak.figures["webhook written"]
    assert soak.figures["sqlite refused"] == soak.figures["sqlite dropped"] == 0
    assert disk is None or soak.figures["jsonl refused"] > 0
    text = report(soak, minutes, flat)
    print(text)
    if REPORT:
        # The list of single faults is written by hand and stays.
        _, heading, by_hand = Path(REPORT).read_text(encoding="utf-8").partition("\n## Faults one by one\n")
        Path(REPORT).write_text(text + heading + by_hand, encoding="utf-8")


def one_life(soak: Soak, config: Path, rng: random.Random) -> None:
    """Start, every fault in random order, SIGTERM at a random moment."""
    life = Life(soak, config, soak.figures["lives"])
    life.wait_for_picture(life.started)
    for name in rng.sample(tuple(FAULTS), len(FAULTS)):
        time.sleep(rng.uniform(0.2, 1.0))
        FAULTS[name].make(soak, life, rng)
        over = time.time()
        first = life.wait_for_picture(over)
        soak.figures[name] += 1
        if FAULTS[name].loses:
            soak.reconnects.append(first - over)
        life.resident()
    time.sleep(rng.uniform(0.0, 1.0))
    life.end()


def report(soak: Soak, minutes: float, flat: tuple[int, int]) -> str:
    early, late = (f"{size / 2**20:.1f} MiB" for size in flat)
    figures = soak.figures
    verdicts = ", ".join(f"{figures[name]:,} {name}" for name in ("OK", "NG", "ERROR"))
    faults = "\n".join(f"| {name} | {figures[name]} |" for name in FAULTS)
    later = sum(seconds > RECONNECT_LIMIT for seconds in soak.reconnects)
    longest = f"{max(soak.reconnects):.2f} s; {later} took longer than the {RECONNECT_LIMIT:g} s stated"
    skipped = "".join(f"\n{name}.\n" for name in figures if "skipped" in name)
    return f"""# Reliability

Written by `make soak MINUTES={MINUTES:g}` on {datetime.now(UTC):%Y-%m-%d}, version {__version__}, {sys.platform},
{os.cpu_count()} CPU cores.

A line (`run -c line.toml`) inspects a camera that speaks motion JPEG over HTTP on loopback. The test makes these faults
in random order, ends the line with SIGTERM at a random moment and starts it again.

| fault | times |
|---|---|
{faults}
| SIGTERM and start | {figures["lives"]} |
{skipped}
| over {minutes:.1f} minutes | |
|---|---|
| verdicts | {verdicts} |
| verdicts other than what the camera showed | 0 |
| verdicts while the camera showed nothing | 0 |
| frames claimed in a summary and not in the results | 0 |
| exit codes other than 0 | 0 |
| from the camera's return to the next verdict, longest of {len(soak.reconnects)} | {longest} |
| records the webhook's receiver refused, counted as such | {figures["webhook refused"]:,} |
| records a full disk refused, counted as such | {figures["jsonl refused"]:,} |
| records dropped by slow sinks, counted as such | {figures["webhook dropped"] + figures["jsonl dropped"]:,} |
| largest resident memory of the line | {max(soak.memory) / 2**20:.0f} MiB |
| resident memory of a loop after 1,000 frames, after 20,000 frames | {early}, {late} |

The zeros are asserted: the test fails otherwise. The stated time to reconnect is `max_backoff` plus two seconds, on a
machine that is not overloaded; here `max_backoff` is {MAX_BACKOFF:g} s. Memory after 20,000 frames may be
5 % above that after 1,000.
"""
