"""The loop: parts, signals, sinks and a bundle changed while it runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from conftest import bad_part, good_part, run_cli
from line_records import wait_for
from mjpeg_server import MjpegServer

from patchcore_edge_runtime import Bundle, BundleError, Inspector, SourceError, Verdict
from patchcore_edge_runtime.bundle.edit import BundleEdit, edit_bundle
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line import hot_swap
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.debounce import DebounceRule
from patchcore_edge_runtime.line.hot_swap import HotSwapper, bundle_stamp
from patchcore_edge_runtime.line.loop import run_loop
from patchcore_edge_runtime.line.runner import Line, run_line
from patchcore_edge_runtime.sinks import Record
from patchcore_edge_runtime.sources import IterableSource


class Kept:
    """A sink that keeps everything."""

    def __init__(self, refuse: bool = False) -> None:
        self.records: list[Record] = []
        self.closed = 0
        self._refuse = refuse

    def write(self, record: Record) -> None:
        if self._refuse:
            raise ConfigError("The disk is full; make room.")
        self.records.append(record)

    def close(self) -> None:
        self.closed += 1


def test_every_frame_becomes_one_record_in_order(tiny_inspector: Inspector) -> None:
    kept = Kept()
    source = IterableSource([good_part(), None, bad_part()])
    now = run_loop(source, tiny_inspector, [kept]).snapshot()
    assert [record.result.verdict for record in kept.records] == ["OK", "ERROR", "NG"]
    assert [record.result.frame_id for record in kept.records] == [0, 1, 2]
    assert now.frames == 3


def test_parts_are_debounced_and_the_frames_own_verdict_is_kept(tiny_inspector: Inspector) -> None:
    kept = Kept()
    source = IterableSource([good_part(), bad_part(), bad_part(1), None, good_part()])
    now = run_loop(source, tiny_inspector, [kept], debounce=DebounceRule(ng=2, of=2)).snapshot()
    assert [record.result.verdict for record in kept.records] == ["OK", "WARN", "NG", "ERROR", "OK"]
    records = [record.to_dict() for record in kept.records]
    assert [record["frame_verdict"] for record in records] == ["OK", "NG", "NG", "ERROR", "OK"]
    assert now.counts[Verdict.WARN] == 1


def test_the_loop_closes_nothing_and_tells_the_source_to_stop(tiny_inspector: Inspector) -> None:
    class Asked(IterableSource):
        stops = closes = 0

        def stop(self) -> None:
            self.stops += 1
            super().stop()

        def close(self) -> None:
            self.closes += 1

    kept, source = Kept(), Asked([good_part()])
    with pytest.raises(ConfigError):
        run_loop(source, tiny_inspector, [kept, Kept(refuse=True)])
    assert (source.stops, source.closes, kept.closed) == (1, 0, 0)


def test_a_line_closes_what_it_opened_however_its_source_ends(tiny_bundle: Path, tmp_path: Path) -> None:
    class Lost(IterableSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            yield from super().__iter__()
            raise SourceError("gone")

    kept = Kept()
    config = LineConfig(bundle=tiny_bundle, source={"uri": "frames"}, sinks={"jsonl": {"path": tmp_path / "r.jsonl"}})
    with pytest.raises(SourceError), Line.open(config, Lost([good_part()]), sinks={"kept": kept}) as line:
        line.run()
    now = line.status.snapshot()
    assert kept.closed == 1
    assert len(kept.records) == now.frames == now.sinks["jsonl"].written == 1
    assert not {"sink-jsonl", "sink-kept"} & {thread.name for thread in threading.enumerate()}


def test_who_asks_to_stop_while_the_sinks_are_flushed_does_not_cut_them_off(tiny_bundle: Path) -> None:
    class Asked(Kept):
        handler: object = signal.SIG_DFL

        def close(self) -> None:
            self.handler = signal.getsignal(signal.SIGTERM)
            super().close()

    before, sink = signal.getsignal(signal.SIGTERM), Asked()
    run_line(LineConfig(bundle=tiny_bundle, source={"uri": "x"}), IterableSource([good_part()]), sinks={"x": sink})
    assert sink.handler != before, "SIGTERM would have ended the process with records in the queue"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_line_that_does_not_open_leaves_nothing_open(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    closed: list[str] = []

    class Shown:
        def __init__(self, inspector: Inspector, *_: object) -> None:
            self.inspector = inspector

        def close(self) -> None:
            closed.append("viewer")

    (tmp_path / "file").touch()
    tables = {"jsonl": {"path": tmp_path / "r.jsonl"}, "sqlite": {"path": tmp_path / "file" / "r.db"}}
    source = {"uri": str(tiny_data / "test" / "good")}
    config = LineConfig(bundle=tiny_bundle, source=source, sinks=tables, hot_swap=True)
    with pytest.raises(ConfigError, match=r"r\.db"), Line.open(config, make_viewer=Shown):
        pytest.fail("opened")
    assert closed == ["viewer"]
    assert not {"sink-jsonl", "hot swap"} & {thread.name for thread in threading.enumerate()}


def spawn_line(bundle: Path, source: str, results: Path) -> subprocess.Popen[str]:
    words = ["run", "-m", str(bundle), "-s", source, "--results", str(results), "--json"]
    command = [sys.executable, "-m", "patchcore_edge_runtime", *words]
    flags = subprocess.CREATE_NEW_PROCESS_GROUP if sys.platform == "win32" else 0
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, creationflags=flags)


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Whatever comes of the test, the line does not stay and its pipes are closed."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for_lines(path: Path, count: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if path.is_file() and len(path.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"no results: {process.communicate()}")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"] if os.name == "posix" else ["CTRL_BREAK_EVENT"])
def test_a_request_to_stop_ends_after_the_frame_in_hand_with_nothing_lost(
    name: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    camera = MjpegServer(good_part)
    results = tmp_path / "results.jsonl"
    with ended(spawn_line(tiny_bundle, camera.url, results)) as process:
        wait_for_lines(results, 5, process)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)
    camera.stop()
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    assert json.loads(out)["frames"] == len(lines)
    assert [line["frame"] for line in lines] == list(range(len(lines)))


def copy_of(bundle: Path, target: Path) -> Path:
    return Path(shutil.copytree(bundle, target))


def test_a_new_bundle_is_taken_between_two_frames(tiny_bundle: Path, tmp_path: Path) -> None:
    first, link = copy_of(tiny_bundle, tmp_path / "first"), tmp_path / "bundle"
    link.mkdir()
    link.rmdir()
    first.rename(link)
    inspector = Inspector(link)
    taken: list[Inspector] = []
    swapper = HotSwapper(link, bundle_stamp(link), Inspector, poll_seconds=0.05, on_swap=taken.append)
    kept = Kept()

    def frames():  # type: ignore[no-untyped-def]
        yield good_part()
        second = copy_of(tiny_bundle, tmp_path / "second")
        link.rename(tmp_path / "old")
        second.rename(link)
        wait_for(lambda: swapper.message)
        yield good_part(1)
        yield good_part(2)

    with closing(swapper):
        status = run_loop(IterableSource(frames()), inspector, [kept], swapper=swapper)
    assert status.swaps == 1
    assert len(taken) == 1
    assert taken[0] is not inspector
    assert [record.result.verdict for record in kept.records] == ["OK"] * 3
    assert "Changed to" in swapper.message


@pytest.mark.skipif(os.name != "posix", reason="Windows does not rename a folder that is in use")
def test_a_running_line_changes_its_bundle_and_goes_on(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, results, log = copy_of(tiny_bundle, tmp_path / "bundle"), tmp_path / "results.jsonl", tmp_path / "log"
    camera = MjpegServer(lambda number: good_part(number % 2))
    words = ["run", "-m", bundle, "-s", camera.url, "--hot-swap", "--results", results, "--json"]
    command = [sys.executable, "-m", "patchcore_edge_runtime", *map(str, words)]
    with log.open("w") as errors:
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    with ended(started) as process:
        wait_for_lines(results, 3, process)
        (bundle / "model.bin").write_bytes(b"not the weights")
        os.utime(bundle / "manifest.json", ns=(1, 1))
        wait_for(lambda: "the old one goes on" in log.read_text())
        wait_for_lines(results, len(results.read_bytes().splitlines()) + 3, process)
        second = copy_of(tiny_bundle, tmp_path / "second")
        bundle.rename(tmp_path / "old")
        second.rename(bundle)
        wait_for(lambda: "Changed to" in log.read_text())
        wait_for_lines(results, len(results.read_bytes().splitlines()) + 3, process)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    camera.stop()
    assert process.returncode == 0
    assert json.loads(out)["swaps"] == 1
    verdicts = [json.loads(line)["verdict"] for line in results.read_text().splitlines()]
    assert len(set(verdicts)) == 1, "the same part, by the same model before and after"
    assert "ERROR" not in verdicts


class Replaces:
    """A viewer that puts another bundle there while the line is being opened, and ends the line when it is taken."""

    def __init__(self, bundle: Path, inspector: Inspector) -> None:
        self.first = self.inspector = inspector
        os.utime(bundle / "manifest.json", ns=(1, 1))

    def __call__(self, _record: Record) -> bool:
        return self.inspector is self.first

    def pump(self) -> bool:
        time.sleep(0.02)
        return True

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_a_bundle_replaced_while_the_line_is_being_opened_is_taken(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")

    def frames():  # type: ignore[no-untyped-def]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            time.sleep(0.02)
            yield good_part()

    config = LineConfig(bundle=bundle, source={"uri": "frames"}, hot_swap=True)
    now = run_line(config, IterableSource(frames()), make_viewer=lambda inspector, *_: Replaces(bundle, inspector))
    assert now.swaps == 1


def test_a_bundle_that_is_no_good_is_not_taken_and_that_is_said(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    swapper = HotSwapper(bundle, bundle_stamp(bundle), Inspector, poll_seconds=60)
    weights = bundle / "model.bin"
    weights.write_bytes(b"\0" + weights.read_bytes()[1:])
    assert not swapper.request()
    assert swapper.poll() is None
    assert "the old one goes on" in swapper.message
    assert "model.bin" in swapper.message
    assert swapper.request(tiny_bundle)
    assert isinstance(swapper.poll(), Inspector)
    assert swapper.poll() is None
    swapper.close()


def test_a_bundle_half_copied_is_refused_and_taken_when_it_is_whole(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    swapper = HotSwapper(bundle, bundle_stamp(bundle), Inspector, poll_seconds=0.05)
    weights = (bundle / "model.bin").read_bytes()
    (bundle / "model.bin").write_bytes(weights[:1000])
    os.utime(bundle / "manifest.json", ns=(1, 1))
    wait_for(lambda: "goes on" in swapper.message)
    (bundle / "model.bin").write_bytes(weights)
    os.utime(bundle / "manifest.json", ns=(2, 2))
    wait_for(lambda: "Changed" in swapper.message)
    assert swapper.poll() is not None
    swapper.close()


def test_a_bundle_is_taken_when_any_of_its_files_has_been_put_right(tiny_bundle: Path, tmp_path: Path) -> None:
    """However it was copied: the manifest was there before the file that was wrong."""
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    with closing(HotSwapper(bundle, bundle_stamp(bundle), Inspector, poll_seconds=0.05)) as swapper:
        for name in ("model.bin", "model.xml", "golden/0.png"):
            whole = (bundle / name).read_bytes()
            (bundle / name).write_bytes(whole[:100])
            wait_for(lambda name=name: f"goes on: {name}" in swapper.message)
            assert swapper.poll() is None
            (bundle / name).write_bytes(whole)
            wait_for(lambda: "Changed" in swapper.message)
            assert swapper.poll() is not None


@pytest.mark.skipif(sys.platform == "win32", reason="files have no owner's rights there")
def test_a_bundle_is_taken_when_its_rights_were_put_right(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")

    def build(path: Path) -> Inspector:
        # As for another user than root, who may read everything.
        if not (path / "model.bin").stat().st_mode & 0o004:
            raise BundleError("It may not be read.")
        return Inspector(path)

    with closing(HotSwapper(bundle, bundle_stamp(bundle), build, poll_seconds=0.05)) as swapper:
        (bundle / "model.bin").chmod(0o600)
        wait_for(lambda: "may not be read" in swapper.message)
        (bundle / "model.bin").chmod(0o644)
        wait_for(lambda: "Changed" in swapper.message)


def test_a_bundle_that_failed_is_tried_again_though_it_stays_as_it_is(
    tiny_bundle: Path, tiny_inspector: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share was away for a moment, or the model server did not have its model yet."""
    monkeypatch.setattr(hot_swap, "_FIRST_PAUSE_SECONDS", 0.01)
    tries = []

    def build(_: Path) -> Inspector:
        tries.append(1)
        if len(tries) < 4:
            raise BundleError("The share is away.")
        return tiny_inspector

    with closing(HotSwapper(tiny_bundle, None, build, poll_seconds=0.01)) as swapper:
        wait_for(lambda: "Changed" in swapper.message)
        assert swapper.poll() is tiny_inspector
        assert len(tries) == 4


def test_a_bundle_that_failed_and_went_away_is_tried_at_once_when_it_is_back(
    tiny_bundle: Path, tiny_inspector: Inspector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_swap, "_FIRST_PAUSE_SECONDS", 1000.0)
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    tries = []

    def build(_: Path) -> Inspector:
        tries.append(1)
        if len(tries) == 1:
            raise BundleError("It went away.")
        return tiny_inspector

    with closing(HotSwapper(bundle, None, build, poll_seconds=0.01)) as swapper:
        wait_for(lambda: "It went away" in swapper.message)
        bundle.rename(tmp_path / "away")
        wait_for(lambda: swapper._taken is None)
        (tmp_path / "away").rename(bundle)
        wait_for(lambda: "Changed" in swapper.message)


def test_a_bundle_that_changes_while_it_is_loaded_is_not_taken_by_halves(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle, other = copy_of(tiny_bundle, tmp_path / "bundle"), copy_of(tiny_bundle, tmp_path / "other")
    edit_bundle(other, BundleEdit(image=99.0), "Ada")
    built = []

    def build(path: Path) -> Inspector:
        built.append(Inspector(path))
        if len(built) == 1:
            bundle.rename(tmp_path / "old")
            other.rename(bundle)
        return built[-1]

    with closing(HotSwapper(bundle, None, build, poll_seconds=0.05)) as swapper:
        wait_for(lambda: swapper._ready is not None)
        taken = swapper.poll()
    assert taken is built[1]
    assert taken.bundle.digest == Bundle.load(bundle).digest


def test_another_manifest_of_the_same_size_and_times_is_another_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    manifest = bundle / "manifest.json"
    before, facts = bundle_stamp(bundle), manifest.stat()
    text = manifest.read_bytes()
    manifest.write_bytes(text[:-2] + b" \n")
    os.utime(manifest, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (manifest.stat().st_size, manifest.stat().st_ino) == (facts.st_size, facts.st_ino)
    assert bundle_stamp(bundle) != before
    assert bundle_stamp(tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes in folders")
def test_a_pipe_in_place_of_a_manifest_is_not_waited_for(tiny_bundle: Path, tmp_path: Path) -> None:
    """The swap's thread waited for somebody to write there, and took no bundle any more."""
    bundle = copy_of(tiny_bundle, tmp_path / "bundle")
    (bundle / "manifest.json").unlink()
    os.mkfifo(bundle / "manifest.json")
    looked = threading.Thread(target=bundle_stamp, args=(bundle,), daemon=True)
    looked.start()
    looked.join(20)
    assert not looked.is_alive()


def test_the_benchmark_measures_each_stage_on_pictures_that_pass(tiny_bundle: Path) -> None:
    words = ("benchmark", "-m", tiny_bundle, "--seconds", 0.3, "--json")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    latency, throughput = json.loads(done.stdout)
    assert (latency["hint"], throughput["hint"]) == ("latency", "throughput")
    for found in (latency, throughput):
        assert found["errors"] == 0
        assert found["frames"] > 0
        assert found["memory_bytes"] > 0
        for stage in ("preprocess_ms", "inference_ms", "total_ms"):
            assert 0 < found["stages"][stage]["p50"] <= found["stages"][stage]["p95"] <= found["stages"][stage]["p99"]


def test_the_benchmark_takes_pictures_of_the_line(tiny_bundle: Path, tiny_data: Path) -> None:
    words = ("benchmark", "-m", tiny_bundle, "-s", tiny_data / "test" / "good", "--seconds", 0.2, "--hint", "latency")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert "80x80" in done.stdout
    assert "p95" in done.stdout
