"""What is in the log of a line and of a command, and what never is."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pytest
from conftest import run_cli
from line_records import free_port, wait_for

from patchcore_edge_runtime.errors import SourceError
from patchcore_edge_runtime.line.hot_swap import HotSwapper, bundle_stamp
from patchcore_edge_runtime.logs import LogFormat, in_line, log_failure, log_to_stderr
from patchcore_edge_runtime.threads import keep_running

RUNTIME = "patchcore_edge_runtime"
FULL = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) [\w.]+ (\[[^\]]+\] )?\S.*")
SECRET = "hunter2"
LOG = logging.getLogger("patchcore_edge_runtime.line.loop")


def logged(text: str = "", *, level: int = logging.WARNING, **keys: object) -> str:
    """What one message, or an exception with a secret in it, looks like in the log."""
    with redirect_stderr(StringIO()) as heard, log_to_stderr(**keys):  # type: ignore[arg-type]
        if text:
            LOG.log(level, text)
        else:
            try:
                raise RuntimeError(f"rtsp://admin:{SECRET}@camera-3/live?key={SECRET} refuses")
            except RuntimeError as error:
                log_failure(LOG, "The camera failed.", error)
    return heard.getvalue()


def test_a_service_says_time_level_and_source_in_each_line_and_a_command_what_is_wrong() -> None:
    assert FULL.fullmatch(logged("x is back.", service=True).rstrip())
    assert " WARNING line.loop x is back." in logged("x is back.", service=True)
    assert logged("x is old.") == "warning: x is old.\n"
    facts = json.loads(logged("x is back.", service=True, log_format=LogFormat.JSON))
    assert (facts["level"], facts["source"], facts["message"]) == ("WARNING", "line.loop", "x is back.")


@pytest.mark.parametrize(
    ("service", "verbosity", "levels"),
    [
        (False, 0, {"WARNING", "ERROR"}),
        (False, 1, {"INFO", "WARNING", "ERROR"}),
        (False, 2, {"DEBUG", "INFO", "WARNING", "ERROR"}),
        (False, -1, {"ERROR"}),
        (True, 0, {"INFO", "WARNING", "ERROR"}),
        (True, 1, {"DEBUG", "INFO", "WARNING", "ERROR"}),
        (True, -1, {"WARNING", "ERROR"}),
        (True, -2, {"ERROR"}),
        (True, -9, set()),
    ],
)
def test_more_and_less_can_be_asked_for(service: bool, verbosity: int, levels: set[str]) -> None:
    heard = {
        name
        for name in ("DEBUG", "INFO", "WARNING", "ERROR")
        if logged("x", level=logging.getLevelNamesMapping()[name], service=service, verbosity=verbosity)
    }
    assert heard == levels


def test_what_others_log_is_heard_from_warnings_on_and_of_those_who_repeat_us_nothing() -> None:
    with redirect_stderr(StringIO()) as heard, log_to_stderr(service=True):
        for name in ("pymodbus.logging", "uvicorn.error", "some.library"):
            logging.getLogger(name).error("Connection failed")
            logging.getLogger(name).info("news")
    assert heard.getvalue().count("\n") == 2
    assert "some.library Connection failed" in heard.getvalue()
    assert "pymodbus" not in heard.getvalue()


def test_a_warning_and_the_end_of_a_librarys_thread_are_lines_of_the_log_too() -> None:
    def fail() -> None:
        raise RuntimeError(f"http://u:{SECRET}@h/")

    with redirect_stderr(StringIO()) as heard, log_to_stderr(service=True):
        thread = threading.Thread(target=fail, name="somebody's")
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            warnings.warn("a division by zero", RuntimeWarning, stacklevel=1)
            logging.captureWarnings(False)
    assert "ERROR command The thread somebody's failed." in heard.getvalue()
    assert "WARNING py.warnings" in heard.getvalue()
    assert SECRET not in heard.getvalue()


def test_the_log_is_given_back_as_it_was() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger(RUNTIME).level)
    logged("x", service=True)
    assert (list(root.handlers), root.level, logging.getLogger(RUNTIME).level) == before


@pytest.mark.parametrize("keys", [{}, {"service": True}, {"log_format": LogFormat.JSON}])
def test_no_secret_is_in_an_exception_that_is_logged(keys: dict[str, object]) -> None:
    text = logged(**keys)  # type: ignore[arg-type]
    assert SECRET not in text
    assert "rtsp://camera-3/..." in text
    assert "RuntimeError" in text
    assert "test_logs.py" in text, "where it comes from is told"


def test_no_secret_is_in_an_exception_that_another_program_logs(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise RuntimeError(f"rtsp://admin:{SECRET}@camera-3/live")
    except RuntimeError as error:
        log_failure(LOG, "The camera failed.", error)
    text = logging.Formatter().format(caplog.records[-1])
    assert SECRET not in text
    assert "RuntimeError: rtsp://camera-3/..." in text
    # Nor in one that a library logs with the exception itself, where the log is ours.
    with redirect_stderr(StringIO()) as heard, log_to_stderr(service=True):
        try:
            raise OSError(f"http://u:{SECRET}@h/")
        except OSError:
            logging.getLogger("some.library").exception("failed")
    assert SECRET not in heard.getvalue()
    assert "OSError: http://h" in heard.getvalue()


def test_what_comes_from_outside_begins_no_line_of_its_own() -> None:
    forged = "part 1\n2026-01-01T00:00:00.000Z ERROR command all is lost"
    assert logged(forged, service=True).count("\n") == 1
    assert len(logged(forged, service=True, log_format=LogFormat.JSON).splitlines()) == 1


def test_what_a_thread_of_a_line_logs_names_that_line() -> None:
    done = threading.Event()
    with redirect_stderr(StringIO()) as heard, log_to_stderr(service=True), in_line("left"):
        work = keep_running("work", lambda: LOG.warning("from a thread"), ended=done.is_set)
        wait_for(lambda: "from a thread" in heard.getvalue())
        done.set()
        work.join(10)
    assert "WARNING line.loop [left] from a thread" in heard.getvalue()


def test_a_swap_that_succeeds_is_news_and_no_warning(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    from patchcore_edge_runtime import Inspector

    swapper = HotSwapper(tiny_bundle, bundle_stamp(tiny_bundle), Inspector, poll_seconds=60)
    with caplog.at_level(logging.DEBUG, RUNTIME):
        assert swapper.request()
    swapper.close()
    said = [record for record in caplog.records if record.name.endswith("hot_swap")]
    assert [record.levelname for record in said] == ["INFO"]
    assert said[0].getMessage().startswith("Changed to discs@")


SERVICE = """
import os, sys
from patchcore_edge_runtime.logs import log_to_stderr
with log_to_stderr(service=True):
    os.write(2, b"libpng warning: iCCP: too short\\n")
    for number in range(30):
        os.write(2, b"Corrupt JPEG data: %d extraneous bytes\\n" % number)
print("done", file=sys.stderr)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has descriptors of another kind")
def test_what_libraries_print_past_python_is_a_line_of_the_log_and_never_a_flood() -> None:
    done = subprocess.run([sys.executable, "-c", SERVICE], capture_output=True, text=True, check=True)
    *said, left_out, end = done.stderr.splitlines()
    assert end == "done", "afterwards all is as before"
    assert len(said) == 10
    assert all(FULL.fullmatch(line) for line in said)
    assert said[0].endswith("WARNING native libpng warning: iCCP: too short")
    assert left_out.endswith("21 further lines were left out.")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a program is told of")
def test_each_line_of_a_running_line_has_time_level_and_source_and_nothing_is_said_twice(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    port = free_port()
    text = (
        f"bundle = '{tiny_bundle}'\n"
        f"[source]\nuri = 'http://admin:{SECRET}@127.0.0.1:{free_port()}/stream'\nwait = true\n"
        f"[sinks.modbus]\nhost = '127.0.0.1'\nport = {port}\n[sinks.jsonl]\npath = 'r.jsonl'\n"
    )
    (tmp_path / "line.toml").write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", RUNTIME, "run", "-c", str(tmp_path / "line.toml")]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: (tmp_path / "r.jsonl").is_file() and bool((tmp_path / "r.jsonl").read_text()), 60)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()  # closes the pipes too
    assert process.returncode == 0, err
    rows = err.splitlines()
    assert all(FULL.fullmatch(row) for row in rows), err
    messages = [row.split(" ", 3)[3] for row in rows]
    assert len(messages) == len(set(messages)), err
    assert sum("PLC" in row for row in messages) == 1, "pymodbus says the same, less well"
    assert SECRET not in err


def test_what_nobody_foresaw_is_told_once_with_where_it_comes_from(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from patchcore_edge_runtime.sources.files import ImageSource

    def fail(_: object) -> None:
        raise RuntimeError(f"what http://u:{SECRET}@h/ says")

    monkeypatch.setattr(ImageSource, "__iter__", fail)
    (tmp_path / "a.png").write_bytes(b"")
    text = f"bundle = '{tiny_bundle}'\n[source]\nuri = '{tmp_path / 'a.png'}'\n"
    (tmp_path / "line.toml").write_text(text, encoding="utf-8")
    done = run_cli("run", "-c", tmp_path / "line.toml", program=RUNTIME)
    assert done.returncode == SourceError.exit_code
    assert done.stderr.count("The source failed (RuntimeError: what http://h says") == 1
    assert "    RuntimeError: what http://h says" in done.stderr
    assert SECRET not in done.stderr


def test_a_commands_last_words_are_json_where_its_log_is() -> None:
    done = run_cli("info", "nothing-here", "--log-format", "json", program=RUNTIME)
    assert done.returncode == 4
    facts = json.loads(done.stderr)
    assert facts["level"] == "ERROR"
    assert "is no bundle" in facts["message"]
    assert os.linesep not in facts["message"]
