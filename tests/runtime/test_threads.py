"""No exception ends a thread that a line relies on: its end is noticed, said, and becomes ERROR or a new beginning."""

from __future__ import annotations

import itertools
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import good_part
from line_records import free_port, make_record
from line_records import wait_for as until
from mjpeg_server import MjpegServer

from patchcore_edge_runtime import Inspector, SourceError, Verdict
from patchcore_edge_runtime.line import hot_swap
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.hot_swap import HotSwapper
from patchcore_edge_runtime.line.loop import run_loop
from patchcore_edge_runtime.line.runner import Line
from patchcore_edge_runtime.line.watchdog import Notifier, WatchdogSource
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import SinkContext
from patchcore_edge_runtime.sinks.http.settings import HttpSettings
from patchcore_edge_runtime.sinks.http.sink import HttpSink
from patchcore_edge_runtime.sinks.worker import SinkWorker
from patchcore_edge_runtime.sources import Frame, IterableSource, LiveSettings, LiveSource
from patchcore_edge_runtime.threads import describe_failure, keep_running

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


class Once:
    """In place of a function: fails the first times that it is called."""

    def __init__(self, real: Callable[..., Any], times: int = 1, error: BaseException | None = None) -> None:
        self.real, self.left, self.error = real, times, error or RuntimeError("can't start new thread")

    def __call__(self, *words: Any, **named: Any) -> Any:
        if self.left:
            self.left -= 1
            raise self.error
        return self.real(*words, **named)


@pytest.mark.parametrize("error", [RuntimeError("no"), MemoryError(), SystemExit(1), KeyboardInterrupt()])
def test_work_is_begun_again_whatever_ended_it(error: BaseException) -> None:
    done, said = threading.Event(), []
    work = Once(done.set, 2, error)
    thread = keep_running("work", work, ended=done.is_set, failed=said.append)
    thread.join(10)
    assert done.is_set()
    assert not thread.is_alive()
    assert len(said) == 2
    assert type(error).__name__ in said[0]


def test_work_that_returns_before_its_end_is_begun_again() -> None:
    ended, times = threading.Event(), itertools.count()

    def work() -> None:
        if next(times) == 2:
            ended.set()

    keep_running("work", work, ended=ended.is_set).join(10)
    assert next(times) == 3


def test_who_cannot_say_that_work_failed_does_not_end_it() -> None:
    done = threading.Event()

    def failed(_: str) -> None:
        raise ValueError("neither can this")

    keep_running("work", Once(done.set), ended=done.is_set, failed=failed).join(10)
    assert done.is_set()


def test_a_failure_is_described_on_one_line() -> None:
    try:
        LineConfig.model_validate({}).source_uri  # noqa: B018
    except ValueError as error:
        text = describe_failure(error)
    assert "\n" not in text
    assert text.startswith("ValidationError")


class Camera:
    fps = 0.0

    def read(self) -> np.ndarray:
        time.sleep(0.01)
        return good_part()

    def close(self) -> None:
        raise OSError("a driver that cannot close either")


def test_a_camera_thread_that_cannot_be_started_is_an_error_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    broken = Once(start, 3)

    def guarded(thread: threading.Thread) -> None:
        if thread.name.startswith("capture"):
            broken(thread)
        else:
            start(thread)

    monkeypatch.setattr(threading.Thread, "start", guarded)
    source = LiveSource("camera", Camera, LiveSettings(wait=True))
    source_frames = [frame for frame, _ in zip(source, range(2), strict=False)]
    assert broken.left == 0
    assert any(frame.image is not None for frame in source_frames)
    assert "can't start new thread" in " ".join(frame.error for frame in source_frames) or source.losses
    source.close()


def test_a_sink_whose_worker_fails_counts_the_record_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Sink:
        def write(self, record: Any) -> None:
            taken.append(record.frame.index)

        def close(self) -> None:
            taken.append(-1)

    status = LineStatus()
    worker = SinkWorker("mine", Sink(), status=status)
    with monkeypatch.context() as broken:
        broken.setattr(worker, "_store", Once(worker._store))
        worker.write(make_record(index=0))
        until(lambda: worker.counts().failed == 1)
        assert "can't start new thread" in worker.counts().error
    worker.write(make_record(index=1))
    until(lambda: worker.counts().written == 1)
    worker.close()
    assert taken == [1, -1]
    assert worker.counts().error == ""


def test_a_web_server_that_ends_is_started_again_at_its_address() -> None:
    sink = HttpSink(HttpSettings(port=0), SinkContext())
    url = f"http://127.0.0.1:{sink.port}/healthz"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    until(answers)
    first = sink._server._server
    first.should_exit = True
    until(lambda: sink._server._server is not first)
    until(answers)
    assert sink.trouble.text == ""
    sink.close()
    assert not sink._server._thread.is_alive()


def test_a_watchdog_that_fails_goes_on_feeding(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, ...]] = []
    notifier = Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "30000"})
    monkeypatch.setattr(notifier, "send", lambda *lines: sent.append(lines))

    class Waiting(IterableSource):
        def __iter__(self) -> Iterator[Frame]:
            until(lambda: self._stopped)
            return iter(())

    source = Waiting([])
    monkeypatch.setattr(source, "status", Once(source.status))
    telling = WatchdogSource(source, notifier, free_running=False)
    line = threading.Thread(target=list, args=(telling,))
    line.start()
    until(lambda: any("WATCHDOG=1" in lines for lines in sent))
    telling.stop()
    line.join()
    telling.close()


def test_a_bundle_is_taken_though_looking_for_it_failed(
    tiny_bundle: Path, tiny_inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_swap, "bundle_stamp", Once(hot_swap.bundle_stamp, 2))
    told: list[Inspector] = []

    def tell(inspector: Inspector) -> None:
        told.append(inspector)
        raise RuntimeError("nobody can show it")

    build = Once(lambda _: tiny_inspector, 1, IndexError("an IR of no dimension"))
    swapper = HotSwapper(tiny_bundle, None, build, poll_seconds=0.02, on_swap=tell)
    until(lambda: "IR of no dimension" in swapper.message)
    swapper._taken = None
    until(lambda: swapper._ready is not None)
    assert swapper.poll() is tiny_inspector
    assert told == [tiny_inspector]
    swapper.close()


def test_the_lines_own_thread_makes_an_error_of_what_nobody_foresaw(
    tiny_inspector: Inspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_inspector._backend, "infer", Once(tiny_inspector._backend.infer, 1, MemoryError()))
    verdicts: list[Verdict] = []

    class Keep:
        def write(self, record: Any) -> None:
            verdicts.append(record.result.verdict)

        def close(self) -> None:
            pass

    run_loop(IterableSource([good_part()] * 3), tiny_inspector, [Keep()])
    assert verdicts == [Verdict.ERROR, Verdict.OK, Verdict.OK]


def test_a_source_that_fails_unforeseen_ends_the_line_with_the_code_that_starts_it_again(
    tiny_bundle: Path,
) -> None:
    class Broken(IterableSource):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            raise KeyError("a bug")

    config = LineConfig(bundle=tiny_bundle, source={"uri": "0"})
    with Line.open(config, Broken([good_part()])) as line, pytest.raises(SourceError, match="KeyError: 'a bug'") as end:
        line.run()
    assert end.value.exit_code == 3
    assert line.status.snapshot().frames == 1


def test_a_camera_of_a_line_comes_back_after_every_thread_failed_once(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = MjpegServer(lambda _: good_part(), pause=0.01)
    watch = Once(LiveSource._watch)

    def watch_once_more(source: LiveSource, connection: Any) -> None:
        watch(source, connection)

    monkeypatch.setattr(LiveSource, "_watch", watch_once_more)
    verdicts: list[Verdict] = []
    config = LineConfig(bundle=tiny_bundle, source={"uri": camera.url, "wait": True})

    class Keep:
        def write(self, record: Any) -> None:
            verdicts.append(record.result.verdict)
            if len(verdicts) > 20 or verdicts.count(Verdict.OK) > 3:
                line.source.stop()

        def close(self) -> None:
            pass

    try:
        with Line.open(config, sinks={"keep": Keep()}) as line:
            line.run()
    finally:
        camera.stop()
    assert Verdict.OK in verdicts


@pytest.mark.filterwarnings("ignore:Exception ignored.*socket")  # paho leaves the old pair of sockets to the collector
def test_a_broker_client_whose_threads_end_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("paho.mqtt", reason="needs the extra mqtt")
    from patchcore_edge_runtime.sinks import mqtt

    monkeypatch.setattr(mqtt, "_LOOK_SECONDS", 0.05)
    settings = mqtt.MqttSettings(port=free_port(), spool=tmp_path / "spool.db", flush_seconds=0.1)
    sink = mqtt.MqttSink(settings)
    assert sink._network is not None
    assert sink._network.is_alive()
    dead = threading.Thread(target=int)
    dead.start()
    dead.join()
    sink._client.loop_stop()
    sink._network = dead
    until(lambda: sink._network is not dead and sink._network is not None and sink._network.is_alive())
    with monkeypatch.context() as broken:
        broken.setattr(sink, "_require_network", Once(sink._require_network))
        until(lambda: "mqtt-pump" in sink.trouble.text)
    sink.write(make_record())
    assert sink.pending == 1, "it is kept"
    assert sink._pump.is_alive()
    sink.close()
    assert not sink._pump.is_alive()
