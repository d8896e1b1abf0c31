"""Over real sockets on loopback; the status page in Chromium."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from browser import browse
from line_records import make_record, program, wait_for

from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.bundle.manifest import CalibrationFacts, Edit, Manifest, ScoreStats, TradeOffPoint
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import run_line
from patchcore_edge_runtime.line.trigger_answers import TriggerAnswers
from patchcore_edge_runtime.monitoring.calibration import calibration_facts
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import HttpSink, Record, SinkContext, SinkWorker
from patchcore_edge_runtime.sinks.base import SinkSettings
from patchcore_edge_runtime.sinks.http.settings import HttpSettings
from patchcore_edge_runtime.verdict import Thresholds, Verdict

pytest.importorskip("uvicorn", reason="needs the package uvicorn")
pytest.importorskip("starlette", reason="needs the package starlette")

TOKEN = "sixteen-letters!"


class Line:
    """A line whose only sink is the web server."""

    def __init__(
        self, trigger: Any = None, source: Any = ("running", 0), *, patient: bool = False, **keys: Any
    ) -> None:
        self.source = source
        status = LineStatus("line 3", "discs@0123456789ab", lambda: self.source)
        status.manifest = "0123abcd"
        numbers, self.given_up = count(1), list[int]()
        answers = None
        if trigger:
            answers = TriggerAnswers(lambda part: next(numbers) if trigger(part) else 0, self.given_up.append)
        self.answers = answers
        self.context = SinkContext(status=status, trigger=answers.ask if answers else None, patient=patient)
        settings = HttpSettings(port=0, **keys)
        self.sink = HttpSink(settings, self.context)
        self.worker = SinkWorker("http", self.sink, settings, status=status)
        self.sinks = [*([answers] if answers else []), self.worker]
        self.port = self.sink.port

    def inspect(self, *verdicts: Verdict) -> None:
        before = self.context.status.snapshot().frames
        for index, verdict in enumerate(verdicts):
            self.write(make_record(verdict, before + index))
        wait_for(lambda: self.worker.counts().written == before + len(verdicts))

    def write(self, record: Record) -> None:
        """As the loop does."""
        self.context.status.add(record.result)
        for sink in self.sinks:
            sink.write(record)

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)) as connection:
            connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            body = answer.read()
        return answer.status, {key.lower(): value for key, value in answer.getheaders()}, body


@contextmanager
def line(**keys: Any) -> Iterator[Line]:
    running = Line(**keys)
    try:
        yield running
    finally:
        running.worker.close()


def test_results_come_newest_first_and_can_be_filtered() -> None:
    with line() as running:
        running.inspect(Verdict.OK, Verdict.NG, Verdict.OK, Verdict.ERROR)
        status, headers, body = running.ask("/results")
        assert status == 200
        assert [result["verdict"] for result in json.loads(body)] == ["ERROR", "OK", "NG", "OK"]
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert [result["frame"] for result in json.loads(running.ask("/results?limit=1&verdict=NG")[2])] == [1]
        for bad in ("limit=-1", "limit=x", "limit=99999999", "verdict=MAYBE"):
            assert running.ask(f"/results?{bad}")[0] == 400


def test_health_fails_when_the_source_is_lost_or_nothing_moves() -> None:
    with line(stale_seconds=0.2) as running:
        running.inspect(Verdict.OK)
        assert running.ask("/healthz")[0] == 200
        running.source = ("reconnecting", 4)
        status, _, body = running.ask("/healthz")
        assert status == 503
        assert json.loads(body) == {
            "healthy": False,
            "state": "unhealthy",
            "problem": "The source is reconnecting.",
            "stopped": True,
            "degraded": [],
        }
        running.source = ("running", 4)
        time.sleep(0.3)
        status, _, body = running.ask("/healthz")
        assert status == 503
        assert "no verdict" in json.loads(body)["problem"]


def test_a_line_that_watches_a_folder_may_be_silent() -> None:
    with line(stale_seconds=0.2, patient=True) as running:
        running.inspect(Verdict.OK)
        time.sleep(0.3)
        assert running.ask("/healthz")[0] == 200, "pictures come when somebody puts them there"


def test_a_required_sink_that_fails_makes_the_line_unhealthy_and_another_one_degraded() -> None:
    class Refuses:
        """Until it is told otherwise."""

        refuses = True

        def write(self, record: Record) -> None:
            if self.refuses:
                raise ConfigError("The PLC at 10.0.0.9:502 cannot be reached; check its address and the cable.")

        def close(self) -> None:
            pass

    with line() as running:
        sinks = {name: Refuses() for name in ("plc", "log")}
        for name, sink in sinks.items():
            settings = SinkSettings(required=name == "plc")
            running.sinks.append(SinkWorker(name, sink, settings, status=running.context.status))
        running.inspect(Verdict.OK)
        figures = running.context.status.sink
        wait_for(lambda: figures("plc").failed == figures("log").failed == 1)
        status, _, body = running.ask("/healthz")
        health = json.loads(body)
        since = figures("plc").failing_since
        assert (status, health["state"], health["stopped"]) == (503, "unhealthy", False)
        assert health["problem"] == f"The required sink plc fails since {since}."
        assert datetime.fromisoformat(since).tzinfo is not None
        assert health["degraded"] == [f"The sink log fails since {figures('log').failing_since}."]
        assert "10.0.0.9" not in body.decode(), "who needs no token is not told addresses"
        assert "10.0.0.9" in running.ask("/status")[2].decode()
        metrics = running.ask("/metrics")[2].decode()
        assert 'patchcore_sink_failing{line="line 3",sink="plc",required="true"} 1.0' in metrics
        sinks["plc"].refuses = False
        running.inspect(Verdict.OK)
        # Or the next record may be taken by a sink that has not refused this one yet.
        wait_for(lambda: figures("plc").written == 1 and figures("log").failed == 2)
        status, _, body = running.ask("/healthz")
        assert (status, json.loads(body)["state"]) == (200, "degraded")
        sinks["log"].refuses = False
        running.inspect(Verdict.OK)
        wait_for(lambda: figures("log").written == 1)
        assert json.loads(running.ask("/healthz")[2])["state"] == "healthy"
        for worker in running.sinks[1:]:
            worker.close()


def test_the_status_page_says_that_verdicts_do_not_arrive(tmp_path: Path) -> None:
    program("chromium", "google-chrome")
    with line() as running:
        running.inspect(Verdict.OK)
        running.context.status.add_sink("plc", lambda: (0, "no answer", "2026-01-02T03:04:05+00:00"), required=True)
        page = _browse(f"http://127.0.0.1:{running.port}/", tmp_path, "--dump-dom")
    assert '<div id="word" class="long">UNSENT</div>' in page
    assert "The required sink plc fails since 2026-01-02T03:04:05+00:00." in page
    assert 'alt="Live view" class=""' in page, "what is seen is what is there now"


def test_metrics_are_what_prometheus_reads() -> None:
    with line(source=("running", 7)) as running:
        running.inspect(Verdict.OK, Verdict.NG, Verdict.NG)
        _, headers, body = running.ask("/metrics")
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        text = body.decode()
        samples = dict(
            re.fullmatch(r"(patchcore_[a-z_]+(?:\{.*\})?) (\S+)", row).groups()
            for row in text.splitlines()
            if not row.startswith("#")
        )
        assert float(samples['patchcore_frames_total{line="line 3",verdict="NG"}']) == 2
        assert float(samples['patchcore_source_dropped_total{line="line 3"}']) == 7
        assert float(samples['patchcore_sink_records_total{line="line 3",sink="http",outcome="written"}']) == 3
        assert 0.02 < float(samples['patchcore_latency_seconds{line="line 3",quantile="0.5"}']) < 0.03
        assert samples['patchcore_info{line="line 3",model_id="discs@0123456789ab",manifest="0123abcd"}'] == "1.0"
        for name in {re.split(r"[ {]", row)[0] for row in samples}:
            assert f"# TYPE {name} " in text


def test_a_label_cannot_break_out_of_the_metrics() -> None:
    with line() as running:
        running.context.status.name = 'a"b\\c\nd'
        assert 'line="a\\"b\\\\c\\nd"' in running.ask("/metrics")[2].decode()


def _parts(stream: Any, count: int) -> list[np.ndarray]:
    pictures = []
    while len(pictures) < count:
        header = stream.readline()
        if header.lower().startswith(b"content-length:"):
            size = int(header.split(b":")[1])
            assert stream.readline() == b"\r\n"
            pictures.append(cv2.imdecode(np.frombuffer(stream.read(size), np.uint8), cv2.IMREAD_COLOR))
    return pictures


def test_the_live_view_shows_new_pictures_as_motion_jpeg() -> None:
    with line(live_fps=50, live_width=320) as running:
        running.inspect(Verdict.OK)
        with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)) as connection:
            connection.request("GET", "/live.mjpg")
            with connection.getresponse() as stream:
                assert stream.getheader("content-type").startswith("multipart/x-mixed-replace")
                (first,) = _parts(stream, 1)
                running.inspect(Verdict.NG)
                (second,) = _parts(stream, 1)
        assert first.shape[1] == 320
        # The banner has turned from green to red.
        assert first[2, 300, 1] > first[2, 300, 2]
        assert second[2, 300, 2] > second[2, 300, 1]


def test_who_asks_for_the_head_of_the_live_view_is_answered_and_takes_no_place() -> None:
    with line(viewers=1, live_fps=50) as running:
        running.inspect(Verdict.OK)
        for _ in range(3):
            status, headers, body = running.ask("/live.mjpg", "HEAD")
            assert (status, body) == (200, b"")
            assert headers["content-type"].startswith("multipart/x-mixed-replace")


def test_viewers_are_bounded_and_their_places_become_free() -> None:
    with line(viewers=1, live_fps=50) as running:
        running.inspect(Verdict.OK)
        with socket.create_connection(("127.0.0.1", running.port)) as viewer:
            viewer.sendall(b"GET /live.mjpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert viewer.recv(1000)
            assert running.ask("/live.mjpg")[0] == 503
        deadline = time.monotonic() + 20
        while True:
            with closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)) as again:
                again.request("GET", "/live.mjpg")
                with again.getresponse() as answer:
                    status = answer.status
            if status == 200:
                break
            assert time.monotonic() < deadline
            running.inspect(Verdict.OK)


def test_a_trigger_answers_with_its_own_verdict() -> None:
    asked = threading.Event()
    with line(trigger=lambda part: not asked.set() and part == "7", trigger_timeout=5) as running:
        running.inspect(Verdict.OK)
        answers: list[tuple[int, Any, bytes]] = []
        caller = threading.Thread(target=lambda: answers.append(running.ask("/trigger?part=7", "POST")))
        caller.start()
        assert asked.wait(20)
        # A frame that nobody asked for, and the one of another trigger: they are not the answer.
        running.write(make_record(Verdict.OK, 97, moment=time.time() + 5, part="7"))
        running.write(make_record(Verdict.OK, 98, part="7", trigger=2))
        running.write(make_record(Verdict.NG, 99, moment=time.time() - 120, part="7", trigger=1))
        caller.join(20)
        status, _, body = answers[0]
        assert (status, json.loads(body)["frame"], json.loads(body)["verdict"]) == (200, 99, "NG")


def test_a_trigger_of_a_good_part_is_answered_though_the_sink_shows_only_bad_ones() -> None:
    asked = threading.Event()
    with line(trigger=lambda _: not asked.set(), trigger_timeout=20, verdicts=[Verdict.NG]) as running:
        answers: list[tuple[int, Any, bytes]] = []
        caller = threading.Thread(target=lambda: answers.append(running.ask("/trigger", "POST")))
        caller.start()
        assert asked.wait(20)
        running.write(make_record(Verdict.OK, 5, trigger=1))
        caller.join(20)
        assert [(status, json.loads(body)["verdict"]) for status, _, body in answers] == [(200, "OK")]
        assert json.loads(running.ask("/results")[2]) == []


def test_several_callers_get_a_frame_each_and_one_who_has_gone_takes_nobodys() -> None:
    numbers, given_up = count(1), list[int]()
    answers = TriggerAnswers(lambda _: next(numbers), given_up.append)
    gone, first, second = answers.ask(), answers.ask(), answers.ask("7")
    assert gone
    assert first
    assert second
    gone.cancel()
    assert given_up == [1]
    for index, number in enumerate((1, 3, 2)):
        assert answers.claim(number) == (number != 1)
        answers.write(make_record(index=index, trigger=number))
    assert (first.result(0).frame.index, second.result(0).frame.index) == (2, 1)
    assert not second.cancel()
    assert TriggerAnswers(lambda _: 0).ask() is None


def test_a_trigger_without_a_verdict_times_out_and_a_free_line_has_none() -> None:
    with line(trigger=lambda _: True, trigger_timeout=0.1) as running:
        assert running.ask("/trigger", "POST")[0] == 504
        assert running.given_up == [1]
        assert running.ask("/trigger")[0] == 405
    with line(trigger=lambda _: False) as running:
        assert running.ask("/trigger", "POST")[0] == 503
    with line() as running:
        assert running.ask("/trigger", "POST")[0] == 409


def test_who_hangs_up_waits_for_no_verdict_any_more() -> None:
    with line(trigger=lambda _: True, trigger_timeout=60) as running:
        with socket.create_connection(("127.0.0.1", running.port)) as caller:
            caller.sendall(b"POST /trigger?part=2 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n")
            wait_for(lambda: running.answers is not None and bool(running.answers._waiting))
        wait_for(lambda: running.given_up == [1])


def test_a_verdict_that_is_being_recorded_is_the_answer_though_time_is_up() -> None:
    with line(trigger=lambda _: True, trigger_timeout=0.2) as running:
        answers: list[tuple[int, Any, bytes]] = []
        caller = threading.Thread(target=lambda: answers.append(running.ask("/trigger", "POST")))
        caller.start()
        wait_for(lambda: running.answers is not None and bool(running.answers._waiting))
        assert running.answers.claim(1)
        time.sleep(0.5)
        running.write(make_record(Verdict.NG, 5, trigger=1))
        caller.join(20)
        assert [(status, json.loads(body)["verdict"]) for status, _, body in answers] == [(200, "NG")]
        assert running.given_up == []


def test_foreign_pages_and_foreign_names_are_refused() -> None:
    with line(trigger=lambda _: True, trigger_timeout=0.05) as running:
        assert running.ask("/trigger", "POST", Origin="https://evil.example")[0] == 403
        assert running.ask("/trigger", "POST", Origin=f"http://127.0.0.1:{running.port}")[0] == 504
        # A name of somebody else's that leads to 127.0.0.1.
        assert running.ask("/results", Host="evil.example")[0] == 400


def test_a_token_guards_everything_but_the_health(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINE_TOKEN", TOKEN)
    with line(token_env="LINE_TOKEN", host="0.0.0.0") as running:
        running.inspect(Verdict.OK)
        for path in ("/", "/metrics", "/status", "/results", "/live.jpg", "/live.mjpg", "/?token=wrong"):
            assert running.ask(path)[0] == 401, path
        assert running.ask("/trigger", "POST")[0] == 401
        assert running.ask("/healthz")[0] == 200
        assert running.ask("/results", Authorization="Bearer wrong")[0] == 401
        assert running.ask("/results", Authorization=f"Bearer {TOKEN}")[0] == 200
        status, headers, _ = running.ask(f"/?token={TOKEN}")
        assert status == 303
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert "secure" not in cookie.lower()
        assert TOKEN not in cookie
        assert running.ask("/", Cookie=cookie.split(";")[0])[0] == 200
        # What a request says of the machine that it is for is no part of its path.
        for host in (
            "x/healthz?",
            "127.0.0.1/healthz?",
            "127.0.0.1:1/healthz#",
            "x//healthz?",
            "x\\healthz?",
            "@/healthz?",
        ):
            for path in ("/status", "/results", "/live.jpg"):
                assert running.ask(path, Host=host)[0] == 401, host
            assert running.ask("/healthz", Host=host)[0] == 200
        # Behind a server that speaks TLS.
        assert "secure" in running.ask(f"/?token={TOKEN}", X_Forwarded_Proto="https")[1]["set-cookie"].lower()


def test_a_session_is_of_one_server_and_triggers_from_its_own_page_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINE_TOKEN", TOKEN)
    keys = {"token_env": "LINE_TOKEN", "host": "0.0.0.0", "trigger": lambda _: True, "trigger_timeout": 0.05}
    with line(**keys) as running, line(**keys) as other:
        cookie, others = (one.ask(f"/?token={TOKEN}")[1]["set-cookie"].split(";")[0] for one in (running, other))
        # The browser sends both to both: a cookie knows no ports.
        assert cookie.split("=")[0] != others.split("=")[0]
        assert running.ask("/results", Cookie=f"{cookie}; {others}")[0] == 200
        session = others.split("=")[1]
        assert running.ask("/results", Cookie=f"{cookie.split('=')[0]}={session}")[0] == 401
        assert running.ask("/results", Authorization=f"Bearer {cookie.split('=')[1]}")[0] == 401
        own = f"http://127.0.0.1:{running.port}"
        assert running.ask("/trigger", "POST", Cookie=cookie, Origin=own)[0] == 504
        assert running.ask("/trigger", "POST", Cookie=cookie)[0] == 401
        assert running.ask("/trigger", "POST", Cookie=cookie, Origin="null")[0] == 403
        assert running.ask("/trigger", "POST", Authorization=f"Bearer {TOKEN}")[0] == 504


def test_a_short_token_is_no_token_for_an_open_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINE_TOKEN", "fifteen-letters")
    with pytest.raises(ConfigError, match="15 characters"):
        HttpSink(HttpSettings(port=0, host="0.0.0.0", token_env="LINE_TOKEN"), SinkContext())
    with line(token_env="LINE_TOKEN") as running:
        assert running.ask("/results")[0] == 401


def test_a_part_has_a_name_of_bounded_length() -> None:
    asked = list[str]()

    def trigger(part: str) -> bool:
        asked.append(part)
        return True

    with line(trigger=trigger, trigger_timeout=0.05) as running:
        assert running.ask(f"/trigger?part={'x' * 200}", "POST")[0] == 504
        for part in ("x" * 201, "x" * 50_000, "a%0Ab", "%1B%5B2J"):
            status, _, body = running.ask(f"/trigger?part={part}", "POST")
            assert status == 400, part
            assert "name" in json.loads(body)["error"]
    assert asked == ["x" * 200]


def test_a_token_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINE_TOKEN", "tök3n")
    with pytest.raises(ConfigError, match="beyond ASCII"):
        HttpSink(HttpSettings(port=0, token_env="LINE_TOKEN"), SinkContext())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "line3.example"])
def test_an_open_address_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="needs token_env"):
        HttpSettings(host=host)


def test_a_taken_port_is_an_error_with_its_number() -> None:
    with line() as running, pytest.raises(ConfigError, match=f"127.0.0.1:{running.port} cannot be listened on"):
        HttpSink(HttpSettings(port=running.port), SinkContext())


def _browse(url: str, profile: Path, *words: str) -> str:
    return browse(url, profile, "--timeout=4000", *words)


def test_the_status_page_in_a_browser(tmp_path: Path) -> None:
    program("chromium", "google-chrome")
    with line(source=("running", 12)) as running:
        running.inspect(*[Verdict.OK] * 7, Verdict.ERROR, Verdict.NG)
        # A hostile file name is text and nothing else.
        running.context.status.name = "<img src=x onerror=document.title='pwned'>"
        page = _browse(f"http://127.0.0.1:{running.port}/", tmp_path, "--dump-dom")
    assert '<div id="verdict" class="NG" role="status"><div id="word">NG</div>' in page
    assert "score 4.20 · limit 3.00" in page
    assert '<div class="count OK"><b class="">7</b>' in page
    assert "12 frames" in page
    assert "The camera gave no picture for 2 s." in page
    assert "onerror=document.title='pwned'&gt;" in page
    assert "<title>pwned" not in page


@pytest.mark.parametrize("verdict", [Verdict.OK, Verdict.NG])
def test_the_verdicts_colour_fills_the_page(verdict: Verdict, tmp_path: Path) -> None:
    program("chromium", "google-chrome")
    shot = tmp_path / "page.png"
    with line() as running:
        running.inspect(verdict)
        url = f"http://127.0.0.1:{running.port}/"
        _browse(url, tmp_path / "profile", f"--screenshot={shot}", "--window-size=800,600")
    blue, green, red = (int(value) for value in cv2.imread(str(shot))[20, 780])
    strongest = green if verdict is Verdict.OK else red
    assert strongest > 2 * sorted((blue, green, red))[1]


def test_the_status_page_never_shows_an_old_verdict_of_a_line_that_stands(tmp_path: Path) -> None:
    program("chromium", "google-chrome")
    with line() as running:
        running.inspect(Verdict.OK)
        running.source = ("reconnecting", 0)
        page = _browse(f"http://127.0.0.1:{running.port}/", tmp_path, "--dump-dom")
    assert '<div id="verdict" class="ERROR" role="status"><div id="word" class="long">STOPPED</div>' in page
    assert "The source is reconnecting." in page
    assert 'alt="Live view" class="old"' in page, "the last picture, with its OK, is darkened"


def test_the_status_page_needs_nothing_from_elsewhere() -> None:
    with line() as running:
        page = running.ask("/")[2].decode()
    assert not re.search(r"https?://|//[a-z]", page)
    assert len(page) < 20_000


WARNING = "026.jpg <b>alone</b> sets the threshold; without it it would be 39.0."


def calibrated(history: tuple[Edit, ...] = ()) -> Manifest:
    """The part of a manifest that the status tells: calibrated to 58.7, with what 39 and 45 would do."""
    points = [(39.0, 0.05, 0.11, 0.6), (45.0, 0.03, 0.08, 0.5), (58.7, 0.016, 0.05, 0.1)]
    names = ("threshold", "expected_fpr", "fpr_upper_bound", "synthetic_recall")
    facts = CalibrationFacts(
        data="tiles",
        n=60,
        target_fpr=0.01,
        rank=60,
        supported_fpr=0.016,
        fpr_upper_bound=0.05,
        supports_target=False,
        scores=ScoreStats(min=25, median=30.6, max=58.7),
        synthetic=90,
        synthetic_recall=0.1,
        trade_off=tuple(TradeOffPoint(**dict(zip(names, point, strict=True))) for point in points),
        warnings=(WARNING, "Most synthetic defects would pass."),
    )
    now = float(str(history[-1].after)) if history else 58.7
    return Manifest.model_construct(calibration=facts, history=history, thresholds=Thresholds(image=now, pixel=50))


def test_the_status_tells_what_the_calibration_warns_of_and_what_other_thresholds_would_do() -> None:
    with line() as running:
        assert json.loads(running.ask("/status")[2])["calibration"] is None
        manifest = calibrated()
        running.context.status.calibration = calibration_facts(manifest, manifest.thresholds)
        found = json.loads(running.ask("/status")[2])["calibration"]
    assert (found["threshold"], found["expected_fpr"], found["fpr_upper_bound"]) == (58.7, 0.016, 0.05)
    assert found["synthetic_recall"] == 0.1
    assert found["warnings"] == [WARNING, "Most synthetic defects would pass."]
    assert found["trade_off"][0] == {
        "threshold": 39.0,
        "expected_fpr": 0.05,
        "fpr_upper_bound": 0.11,
        "synthetic_recall": 0.6,
        "labelled_recall": None,
    }


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(39.0, (0.05, 0.11, 0.6)), (40.0, (0.05, 0.11, 0.5)), (30.0, (None, None, 0.6)), (70.0, (0.016, 0.05, None))],
)
@pytest.mark.parametrize("where", ["bundle", "line"])
def test_another_threshold_is_never_given_the_calibrated_ones_rates(
    threshold: float, expected: tuple[float | None, ...], where: str
) -> None:
    edit = Edit(when="2025-01-01T00:00:00+00:00", by="Ada", field="thresholds.image", before=58.7, after=threshold)
    manifest = calibrated((edit,) if where == "bundle" else ())
    found = calibration_facts(manifest, Thresholds(image=threshold, pixel=50))
    assert (found["expected_fpr"], found["fpr_upper_bound"], found["synthetic_recall"]) == expected
    assert found["warnings"][0] == f"The image threshold is {threshold:.4g}; it was calibrated to 58.7."
    assert found["warnings"][1] == WARNING


def test_a_line_tells_its_status_what_its_bundle_was_calibrated_to(tiny_bundle: Path, tiny_data: Path) -> None:
    seen: list[Any] = []

    class Shown:
        def __init__(self, inspector: Any, status: LineStatus, _live: bool) -> None:
            self.inspector, self.status = inspector, status

        def __call__(self, _record: Any) -> bool:
            seen.append(self.status.calibration)
            return False

        def pump(self) -> bool:
            return True

        def stop(self) -> None: ...

        def close(self) -> None: ...

    config = LineConfig.model_validate(
        {"name": "discs", "bundle": tiny_bundle, "source": {"uri": str(tiny_data / "test" / "good")}}
    )
    run_line(config, make_viewer=Shown)
    manifest = Bundle.load(tiny_bundle).manifest
    assert seen[0]["threshold"] == manifest.thresholds.image
    assert seen[0]["fpr_upper_bound"] == manifest.calibration.fpr_upper_bound


def test_the_status_page_shows_the_first_warning_and_that_there_are_more(tmp_path: Path) -> None:
    program("chromium", "google-chrome")
    with line() as running:
        running.inspect(Verdict.OK)
        manifest = calibrated()
        running.context.status.calibration = calibration_facts(manifest, manifest.thresholds)
        page = _browse(f"http://127.0.0.1:{running.port}/", tmp_path, "--dump-dom")
    assert "58.70, good parts rejected: 1.6&nbsp;%, synthetic defects caught: 10.0&nbsp;%" in page
    assert '<b class="bad">026.jpg &lt;b&gt;alone&lt;/b&gt; sets the threshold; without it it would be 39.0.' in page
    assert "(1 more in /status)" in page
