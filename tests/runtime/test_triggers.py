"""A trigger is answered by its own frame or by none, whatever clocks and cameras do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part
from line_records import wait_for
from numpy.typing import NDArray

from patchcore_edge_runtime import Inspector, Verdict
from patchcore_edge_runtime.line.loop import run_loop
from patchcore_edge_runtime.line.trigger_answers import TriggerAnswers
from patchcore_edge_runtime.sinks import Record
from patchcore_edge_runtime.sources import Frame, LiveSettings, LiveSource, WatchedFolder
from patchcore_edge_runtime.sources.triggers import TriggeredSource

PACE = 0.02


class Camera:
    """Shows good parts or bad ones; what it gives was exposed when it was asked for, however long that takes.

    Attributes:
        bad: what is before the camera.
        hangs: while set, a frame that was exposed does not arrive.
        queue: frames that lie in a queue on the way, oldest first.
    """

    fps = 1 / PACE

    def __init__(self) -> None:
        self.bad, self.hangs = False, threading.Event()
        self.queue: list[NDArray[np.uint8]] = []
        self._number = 0

    def read(self) -> NDArray[np.uint8]:
        if self.queue:
            return self.queue.pop(0)
        frame = self.picture()
        time.sleep(PACE)
        while self.hangs.is_set():
            time.sleep(0.001)
        return frame

    def picture(self) -> NDArray[np.uint8]:
        self._number += 1
        return bad_part(self._number) if self.bad else good_part(self._number)

    def close(self) -> None:
        self.hangs.clear()


class Triggered:
    """A line behind a software trigger.

    Attributes:
        before: called with each record before its caller is told.
    """

    def __init__(self, inspector: Inspector) -> None:
        self.camera = Camera()
        self.source = LiveSource("camera", lambda: self.camera, LiveSettings(read_timeout=20))
        self.gate = TriggeredSource(self.source)
        self.answers = TriggerAnswers(self.gate.trigger, self.gate.give_up)
        self.records: list[Record] = []
        self.before = lambda _: None
        self._line = threading.Thread(target=self._run, args=(inspector,))
        self._line.start()

    def _run(self, inspector: Inspector) -> None:
        run_loop(self.gate, inspector, [self, self.answers], claim=self.answers.claim)

    def write(self, record: Record) -> None:
        self.before(record)
        self.records.append(record)

    def stop(self) -> None:
        self.camera.hangs.clear()
        self.gate.stop()
        self._line.join()
        self.source.close()

    def ask(self, part: str) -> Future[Record]:
        asked = self.answers.ask(part)
        assert asked is not None
        return asked

    def show(self, *, bad: bool) -> None:
        """Put another part before the camera, and wait until all frames of the one before are gone."""
        self.camera.bad = bad
        time.sleep(5 * PACE)

    def hang(self) -> None:
        self.camera.hangs.set()
        time.sleep(2 * PACE)


@pytest.fixture
def line(tiny_inspector: Inspector) -> Iterator[Triggered]:
    running = Triggered(tiny_inspector)
    yield running
    running.stop()


def test_a_clock_that_is_set_gives_no_trigger_another_parts_verdict(
    line: Triggered, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    for number, step in enumerate((0, -120, 300, -86_400, 0)):
        line.show(bad=number % 2 == 1)
        shift[0] = step
        record = line.ask("").result(20)
        assert record.result.verdict is (Verdict.NG if number % 2 else Verdict.OK)
        assert record.frame.trigger == number + 1
        assert record.to_dict()["trigger"] == number + 1
    assert [record.frame.trigger for record in line.records] == [1, 2, 3, 4, 5]


def test_a_trigger_that_timed_out_in_a_hang_gets_no_verdict_from_the_next_parts_picture(line: Triggered) -> None:
    assert line.ask("1").result(20).result.verdict is Verdict.OK
    line.hang()
    second = line.ask("2")
    assert second.cancel()
    line.camera.bad = True
    third = line.ask("3")
    line.camera.hangs.clear()
    record = third.result(20)
    assert (record.frame.part, record.result.verdict) == ("3", Verdict.NG), "not the frame exposed before the hang"
    line.show(bad=False)
    assert line.ask("4").result(20).result.verdict is Verdict.OK
    found = [(record.frame.part, record.result.verdict) for record in line.records]
    assert found == [("1", Verdict.OK), ("2", Verdict.ERROR), ("3", Verdict.NG), ("4", Verdict.OK)]
    assert "Nobody waited any longer" in line.records[1].result.reason


@pytest.mark.parametrize("names", [("2", "3"), ("", "")])
def test_a_part_is_never_judged_by_a_picture_taken_after_the_next_was_called(
    names: tuple[str, str], line: Triggered
) -> None:
    line.hang()
    second = line.ask(names[0])
    time.sleep(0.2)
    line.camera.bad = True
    third = line.ask(names[1])
    line.camera.hangs.clear()
    assert second.result(20).result.verdict is Verdict.ERROR
    assert "The next part was called" in second.result(20).result.reason
    assert third.result(20).result.verdict is Verdict.NG


def test_several_frames_of_one_part_may_be_asked_for_at_any_time(line: Triggered) -> None:
    line.hang()
    asked = [line.ask("7")]
    time.sleep(0.2)
    asked += [line.ask("7") for _ in range(3)]
    line.camera.hangs.clear()
    records = [one.result(20) for one in asked]
    assert [record.result.verdict for record in records] == [Verdict.OK] * 4
    assert len({record.frame.index for record in records}) == 4


def test_callers_at_the_same_moment_each_get_a_frame_of_their_own(line: Triggered) -> None:
    records = [one.result(20) for one in [line.ask(str(number)) for number in range(8)]]
    assert [record.frame.part for record in records] == [str(number) for number in range(8)]
    assert [record.result.verdict for record in records] == [Verdict.OK] * 8


def test_frames_that_queued_up_on_the_way_during_a_hang_answer_no_later_trigger(line: Triggered) -> None:
    wait_for(lambda: len(line.source._pace._lasted) >= 25)
    line.hang()
    line.camera.queue = [line.camera.picture() for _ in range(8)]
    line.camera.bad = True
    asked = line.ask("2")
    line.camera.hangs.clear()
    assert asked.result(20).result.verdict is Verdict.NG


def test_a_busy_line_judges_each_part_by_the_frame_of_its_own_trigger(line: Triggered) -> None:
    busy, go_on = threading.Event(), threading.Event()

    def write_slowly(record: Record) -> None:
        if record.frame.part == "slow":
            busy.set()
            go_on.wait(20)

    line.before = write_slowly
    asked = [line.ask("slow")]
    assert busy.wait(20)
    asked.append(line.ask("2"))
    line.show(bad=False)
    line.show(bad=True)
    asked.append(line.ask("3"))
    line.show(bad=True)
    line.show(bad=False)
    go_on.set()
    verdicts = [one.result(20).result.verdict for one in asked]
    assert verdicts == [Verdict.OK, Verdict.OK, Verdict.NG]


def test_a_caller_who_leaves_while_its_frame_is_judged_leaves_no_verdict(tiny_inspector: Inspector) -> None:
    asked: list[Future[Record]] = []

    class Leaving:
        """An inspector that takes until its caller has gone."""

        manifest, error_result = tiny_inspector.manifest, tiny_inspector.error_result

        def __call__(self, frame: NDArray[np.uint8], **words: object) -> object:
            wait_for(lambda: bool(asked))
            assert asked[0].cancel()
            return tiny_inspector(frame, **words)  # type: ignore[arg-type]

    late = Triggered(Leaving())  # type: ignore[arg-type]
    asked.append(late.ask("1"))
    wait_for(lambda: len(late.records) == 1)
    late.stop()
    assert late.records[0].result.verdict is Verdict.ERROR
    assert "Nobody waited any longer" in late.records[0].result.reason


def test_a_file_that_comes_for_a_trigger_nobody_waits_for_is_an_error(
    tmp_path: Path, tiny_inspector: Inspector
) -> None:
    gate = TriggeredSource(WatchedFolder(tmp_path, poll_seconds=0.01))
    answers = TriggerAnswers(gate.trigger, gate.give_up)
    records = iter(gate)
    asked = answers.ask("2")
    assert asked is not None

    def late() -> None:
        time.sleep(0.2)
        asked.cancel()
        cv2.imwrite(str(tmp_path / "2.png"), good_part())

    threading.Thread(target=late).start()
    frame = next(records)
    assert (frame.part, frame.trigger, frame.image) == ("2", 1, None)
    assert "Nobody waited any longer" in frame.error
    gate.stop()


class Folder:
    """A watched folder behind a software trigger: calls, pictures and what became of them."""

    def __init__(self, folder: Path, silence: float, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("patchcore_edge_runtime.sources.triggers._LATE_SECONDS", silence)
        self.folder = folder
        self.watched = WatchedFolder(folder, poll_seconds=0.01)
        self.gate = TriggeredSource(self.watched)
        self.frames: list[Frame] = []
        self._thread = threading.Thread(target=lambda: self.frames.extend(self.gate))
        self._thread.start()

    def call(self, part: str, *, answered: bool = True) -> int:
        number = self.gate.trigger(part)
        if answered:
            self.put(part)
            wait_for(lambda: any(frame.trigger == number for frame in self.frames))
        return number

    def put(self, part: str) -> None:
        before = len(self.frames)
        (self.folder / f"{part}.tmp").write_bytes(cv2.imencode(".png", good_part(len(part)))[1].tobytes())
        (self.folder / f"{part}.tmp").rename(self.folder / f"{part}.png")
        wait_for(lambda: len(self.frames) > before)

    def give_up(self, number: int) -> None:
        before = len(self.frames)
        self.gate.give_up(number)
        wait_for(lambda: len(self.frames) > before)

    def told(self) -> list[tuple[int, str, bool]]:
        """Number and part of each frame, and whether it has a picture, which is always its part's own."""
        for frame in self.frames:
            assert frame.image is None or Path(frame.name).stem == frame.part
        return [(frame.trigger, frame.part, frame.image is not None) for frame in self.frames]

    def close(self) -> None:
        self.gate.stop()
        self._thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    one = Folder(tmp_path, 0.5, monkeypatch)
    yield one
    one.close()


def test_of_a_watched_folder_a_picture_that_is_late_never_answers_the_next_call(folder: Folder) -> None:
    folder.call("1")
    folder.give_up(folder.call("2", answered=False))
    folder.put("2")
    folder.call("3")
    assert folder.told() == [(1, "1", True), (2, "2", False), (0, "", False), (3, "3", True)]
    assert "Nobody waited any longer" in folder.frames[1].error
    assert "too late for one" in folder.frames[2].error


def test_of_a_watched_folder_a_picture_that_comes_after_the_next_call_answers_neither(folder: Folder) -> None:
    folder.call("1")
    folder.give_up(folder.call("2", answered=False))
    third = folder.call("3", answered=False)
    folder.put("2")
    folder.put("3")
    folder.call("4")
    assert folder.told() == [(1, "1", True), (2, "2", False), (third, "3", False), (0, "", False), (4, "4", True)]
    assert "a part before it got none" in folder.frames[2].error


def test_of_a_watched_folder_the_next_call_ends_the_one_before_that_has_no_picture(folder: Folder) -> None:
    folder.call("1", answered=False)
    time.sleep(0.2)
    folder.call("2")
    wait_for(lambda: len(folder.frames) == 2)
    assert sorted(folder.told()) == [(1, "1", False), (2, "2", False)]


def test_of_a_watched_folder_a_picture_that_never_comes_shifts_no_verdict_and_is_written_off_in_silence(
    folder: Folder,
) -> None:
    folder.give_up(folder.call("1", answered=False))
    # Whether it is late or lost cannot be told yet.
    folder.call("2")
    wait_for(lambda: folder.gate._owed == 0)
    folder.call("3")
    assert folder.told() == [(1, "1", False), (2, "2", False), (3, "3", True)]


def test_of_a_watched_folder_a_picture_that_nobody_called_for_is_an_error_and_answers_no_call(folder: Folder) -> None:
    folder.put("foreign")
    folder.call("1")
    number = folder.call("2", answered=False)
    (folder.folder / "foreign 2.png").write_bytes(cv2.imencode(".png", good_part(7))[1].tobytes())
    folder.put("2")
    wait_for(lambda: len(folder.frames) == 4)
    assert folder.told()[:2] == [(0, "", False), (1, "1", True)]
    assert number in {frame.trigger for frame in folder.frames}
    assert not any(frame.image is not None for frame in folder.frames[2:])


def test_of_a_watched_folder_that_cannot_be_read_each_call_is_an_error(folder: Folder) -> None:
    away = folder.folder.with_name("away")
    folder.folder.rename(away)
    wait_for(lambda: folder.watched.status()[0] == "lost")
    number = folder.gate.trigger("1")
    wait_for(lambda: any(frame.trigger == number for frame in folder.frames))
    away.rename(folder.folder)
    wait_for(lambda: folder.watched.status()[0] == "running")
    folder.put("1")
    folder.call("2")
    assert folder.told() == [(0, "", False), (1, "1", False), (0, "", False), (2, "2", True)]


def test_what_came_while_the_line_was_down_answers_no_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, state = tmp_path / "in", tmp_path / "state.db"
    folder.mkdir()
    WatchedFolder(folder, state=state).close()
    (folder / "old.png").write_bytes(cv2.imencode(".png", good_part(7))[1].tobytes())
    gate = TriggeredSource(WatchedFolder(folder, poll_seconds=0.01, state=state))
    frames: list[Frame] = []
    thread = threading.Thread(target=lambda: frames.extend(gate))
    thread.start()
    assert gate.trigger("1")
    wait_for(lambda: len(frames) == 1)
    gate.stop()
    thread.join()
    gate.close()
    assert [(frame.trigger, frame.image) for frame in frames] == [(0, None)]
