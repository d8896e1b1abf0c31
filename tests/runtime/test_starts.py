"""What a line is told, and where its commands run: wrong numbers, misspelt names, wrong types, no place to write."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
from conftest import good_part, run_cli
from pydantic import BaseModel, ValidationError

from patchcore_edge_runtime import (
    Bundle,
    ConfigError,
    FrameError,
    InspectionResult,
    Inspector,
    LineRules,
    PreprocessSpec,
    Verdict,
    draw_overlay,
    open_source,
    preprocess,
)
from patchcore_edge_runtime.inspection.rules import judge
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.line.environment import check_names, setting_names
from patchcore_edge_runtime.sinks import SINKS
from patchcore_edge_runtime.validation import Settings
from patchcore_edge_runtime.verdict import Thresholds

SETTINGS = {
    "line": (LineConfig, {"bundle": "b", "source": {"uri": "0"}}),
    **{
        f"sinks.{kind}": (sink.Settings, {"path": "v.mp4", "folder": "f", "url": "http://x", "host": "127.0.0.1"})
        for kind, sink in SINKS.items()
    },
}


def leaves(annotation: Any) -> Iterator[Any]:
    """The types of a value, whatever it is annotated with."""
    if get_origin(annotation) in (Annotated, Union, UnionType):
        for inner in get_args(annotation):
            yield from leaves(inner)
    elif isinstance(annotation, type):
        yield annotation


def tables(model: type[BaseModel], needed: dict[str, Any], place: str) -> Iterator[tuple[str, type[BaseModel], dict]]:
    """Each table of settings that there is, with what it cannot do without."""
    yield place, model, {key: value for key, value in needed.items() if key in model.model_fields}
    for key, field in model.model_fields.items():
        for kind in leaves(field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and place.startswith("line") and key != "sinks":
                uri = "grpc://server/model" if key == "server" else "0"
                yield from tables(kind, {"uri": uri, "ng": 1, "of": 2} | needed, f"{place}.{key}")


def numbers() -> Iterator[tuple[str, type[BaseModel], dict, str]]:
    for name, (model, needed) in SETTINGS.items():
        for place, table, least in tables(model, needed, name):
            for key, field in table.model_fields.items():
                if {int, float} & set(leaves(field.annotation)):
                    yield f"{place}.{key}", table, least, key


@pytest.mark.parametrize(("table", "least", "key"), [pytest.param(*rest, id=name) for name, *rest in numbers()])
def test_no_number_of_a_line_switches_off_what_it_is_for(table: type[Settings], least: dict, key: str) -> None:
    table.model_validate(least)
    below_zero = () if key in table.signed else (-1, -0.5)  # an exposure as some drivers count it
    for value in (float("inf"), float("-inf"), float("nan"), "inf", "nan", *below_zero, 1e300, 10**30):
        with pytest.raises(ValidationError):
            table.model_validate({**least, key: value})


def test_there_are_numbers_to_check() -> None:
    found = {name for name, *_ in numbers()}
    assert {"line.inspect.min_defect_area", "sinks.modbus.max_age", "line.source.read_timeout"} <= found
    assert {"line.inspect.debounce.of", "line.trigger.every_ms", "line.thresholds.image"} <= found


@pytest.mark.parametrize("value", ["inf", "nan", "-inf", "1e400"])
@pytest.mark.parametrize("option", ["--threshold", "--min-defect-area", "--every-ms"])
def test_no_number_of_the_command_line_is_none(option: str, value: str) -> None:
    done = run_cli("run", "-m", "b", "-s", "0", f"{option}={value}", program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "finite number" in done.stderr


def test_a_smallest_defect_larger_than_all_that_is_inspected_is_an_error() -> None:
    rules = LineRules(min_defect_area=100 * 100 + 1, thresholds=Thresholds(image=1, pixel=1))
    judged = judge(5.0, np.full((10, 10), 5, np.float32), rules, (100, 100), (0, 0, 100, 100))
    assert judged.verdict is Verdict.ERROR
    assert "min_defect_area" in judged.reason


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PATCHCORE_EDGE_DEVIEC", "PATCHCORE_EDGE_DEVICE"),
        ("PATCHCORE_EDGE_SOURCE_WAIT", "PATCHCORE_EDGE_SOURCE__WAIT"),
        ("PATCHCORE_EDGE_TRESHOLDS__IMAGE", "PATCHCORE_EDGE_THRESHOLDS__IMAGE"),
        ("PATCHCORE_EDGE_SINK__JSONL__PATH", "PATCHCORE_EDGE_SINKS__JSONL__PATH"),
        ("PATCHCORE_EGDE_DEVICE", "PATCHCORE_EDGE_DEVICE"),
        ("PATCHCOREEDGE_BUNDLE", "PATCHCORE_EDGE_BUNDLE"),
        ("patchcore_edge_hot_swap", "PATCHCORE_EDGE_HOT_SWAP"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_name_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is no setting; write {meant},"):
        load_line(None, {"bundle": "b", "source.uri": "0"}, {name: "1"})


def test_a_misspelt_key_in_a_table_is_said_with_its_variable() -> None:
    for name in ("PATCHCORE_EDGE_SOURCE__WIAT", "PATCHCORE_EDGE_SINKS__JSONL__PTH"):
        with pytest.raises(ConfigError, match=f"environment variable {name}"):
            load_line(None, {"bundle": "b", "source.uri": "0", "sinks.jsonl.path": "x"}, {name: "1"})


def test_a_variable_of_others_is_said_and_not_refused(caplog: pytest.LogCaptureFixture) -> None:
    secret = {"sinks": {"http": {"token_env": "PATCHCORE_EDGE_DEVICES"}}}
    check_names({"PATCHCORE_EDGE_WEIGHTS": "w", "PATCHCORE_EDGE_DEVICES": "secret", "PATH": "x"}, secret)
    assert not caplog.text
    check_names({"PATCHCORE_EDGE_SHIFT_OF_TODAY": "2"}, {})
    assert "PATCHCORE_EDGE_SHIFT_OF_TODAY is no setting of a line" in caplog.text


def test_every_setting_has_a_name_that_is_known() -> None:
    check_names(dict.fromkeys(setting_names(), "1"), {})


WRONG = [
    ({"roi": "10,20,30,40"}, "roi is '10,20,30,40'; give x, y, width, height"),
    ({"roi": (0, 0, 10)}, "give x, y, width, height"),
    ({"roi": (0, 0, -5, 10)}, "give x, y, width, height"),
    ({"roi": (0.5, 0, 5, 10)}, "give x, y, width, height"),
    ({"thresholds": {"image": 1, "pixel": 1}}, "thresholds is a dict; give Thresholds"),
    ({"thresholds": 3.5}, "thresholds is 3.5; give Thresholds"),
    ({"rules": {"roi": None}}, "rules is a dict; give LineRules"),
    ({"rules": LineRules(), "roi": (0, 0, 9, 9)}, "leave rules out"),
    ({"device": None}, "device is None"),
    ({"hint": "fast"}, "hint is 'fast'; give 'latency' or 'throughput'"),
    ({"cache_dir": 3}, "cache_dir is 3; give a folder"),
    ({"inference_num_threads": 0}, "inference_num_threads is 0"),
    ({"inference_num_threads": "two"}, "inference_num_threads is 'two'"),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_a_wrong_argument_of_the_inspector_fails_at_once(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        Inspector("there is no bundle", **arguments)  # arguments first: nothing is loaded for one that is wrong
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [None, 3, b"bundle", ["b"]])
def test_what_is_no_path_of_a_bundle_is_said(value: Any) -> None:
    for use in (Inspector, Bundle.load):
        with pytest.raises(ConfigError, match="give the folder that `patchcore-edge export` wrote"):
            use(value)


def test_rules_are_checked_where_they_are_made() -> None:
    for words in (
        {"min_defect_area": float("nan")},
        {"min_defect_area": -1},
        {"ignore": [[0, 0]]},
        {"check_sanity": 1},
    ):
        with pytest.raises(ConfigError):
            LineRules(**words)  # type: ignore[arg-type]
    assert LineRules(roi=[np.int64(1), 2, 30, 40]).roi == (1, 2, 30, 40)  # type: ignore[arg-type]


FRAMES = [
    None,
    "frame.png",
    [[1, 2], [3, 4]],
    np.zeros((64, 64, 3), np.float32),
    np.zeros((64, 64, 2), np.uint8),
    np.zeros((2, 3), np.uint8),
    np.zeros(0, np.uint8),
    np.zeros((64, 64), np.bool_),
    np.zeros((1, 64, 64, 3), np.uint8),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(getattr(frame, "shape", type(frame).__name__)))
def test_whatever_the_frame_there_is_a_verdict_and_a_picture_of_it(frame: Any, tiny_inspector: Inspector) -> None:
    result = tiny_inspector(frame)
    assert result.verdict is Verdict.ERROR
    assert "object" not in result.reason
    overlay = draw_overlay(frame, result)
    assert (overlay.dtype, overlay.ndim) == (np.uint8, 3)
    assert np.ptp(overlay) > 0, "the reason stands on it"
    with pytest.raises(FrameError):
        preprocess(frame, tiny_inspector.manifest.preprocess)


def test_the_reason_says_what_was_given_in_place_of_a_frame(tiny_inspector: Inspector) -> None:
    assert tiny_inspector(None).reason.startswith("The frame is nothing (None); give a NumPy array")  # type: ignore[arg-type]
    assert "is a list; give a NumPy array" in tiny_inspector([1]).reason  # type: ignore[arg-type]


def test_what_is_no_result_no_source_and_no_size_is_said() -> None:
    for use in (
        lambda: draw_overlay(good_part(), None),  # type: ignore[arg-type]
        lambda: draw_overlay(good_part(), {"verdict": "OK"}),  # type: ignore[arg-type]
        lambda: open_source(None),  # type: ignore[arg-type]
        lambda: open_source(b"x"),  # type: ignore[arg-type]
        lambda: preprocess(good_part(), (64, 64)),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match="; give "):
            use()
    assert preprocess(good_part(), PreprocessSpec(height=64, width=64)).shape == (64, 64, 3)


def test_a_source_may_be_a_path(tiny_data: Path) -> None:
    assert sum(1 for _ in open_source(tiny_data / "test" / "good")) == 6


def test_a_failure_that_nobody_foresaw_is_an_error_of_that_frame(
    tiny_inspector: Inspector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("no more")

    with monkeypatch.context() as broken:
        broken.setattr("patchcore_edge_runtime.inspection.inspector.preprocess", fail)
        results: list[InspectionResult] = [tiny_inspector(good_part()) for _ in range(3)]
    assert {result.verdict for result in results} == {Verdict.ERROR}
    assert "MemoryError: no more" in results[0].reason
    assert len(caplog.records) == 1, "said once and not with every frame"
    assert tiny_inspector(good_part()).verdict is Verdict.OK


# Where a command runs


needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def test_a_reader_who_leaves_ends_a_command_quietly(tiny_bundle: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        line = [sys.executable, "-m", "patchcore_edge_runtime", "info", "-m", str(tiny_bundle)]
        done = subprocess.run(line, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(write)
    assert done.returncode == 141
    assert not done.stderr


@needs_full
def test_what_cannot_be_printed_is_said_with_a_code(tiny_bundle: Path) -> None:
    line = [sys.executable, "-m", "patchcore_edge_runtime", "info", "-m", str(tiny_bundle)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        mute = subprocess.run([*line[:-1], "nowhere"], stdout=full, stderr=full, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert mute.returncode == 4, "the code is what is left to say"


CLOSED = """
import os
from pathlib import Path
from patchcore_edge_runtime.command import new_app, run_app
app = new_app("Writes a file.")
@app.command()
def write(place: Path) -> None:
    with place.open("w") as file:
        for number in (1, 2):
            os.write(number, b"warning of a library in C")
        file.write("ours")
run_app(app)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no shell there closes an output")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_what_a_library_prints_on_an_output_that_is_closed_goes_into_no_file(closed: str, tmp_path: Path) -> None:
    """A file that is opened then gets the number of the output."""
    command = shlex.join([sys.executable, "-c", CLOSED, str(tmp_path / "file")])
    done = subprocess.run(["sh", "-c", f"exec {command} {closed}"], capture_output=True, check=False)
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == "ours"


def test_a_command_without_outputs_cwd_or_tmpdir_does_its_work(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    script = (
        'mkdir "$1/gone"; cd "$1/gone"; rmdir ../gone; '
        '"$2" -m patchcore_edge_runtime run -m "$3" -s "$4" --results "$1/r.jsonl" >&- 2>&-'
    )
    words = ["sh", "-c", script, "sh", tmp_path, sys.executable, tiny_bundle, tiny_data / "test" / "good"]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "nowhere")}
    done = subprocess.run([str(word) for word in words], check=False, env=environment, timeout=120)
    assert done.returncode == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 6


AS_NOBODY = """
import contextlib, importlib, io, json, os, pkgutil, sys
import patchcore_edge_runtime as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from patchcore_edge_runtime.command import run_app
from patchcore_edge_runtime.cli import app
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ends = []
for words in json.loads(sys.argv[1]):
    sys.argv, said = ["program", *words], io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            run_app(app)
    except SystemExit as end:
        ends.append([end.code, said.getvalue()])
print(json.dumps(ends))
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_what_may_not_be_used_is_said_with_path_and_user_and_code_2_or_4(
    open_folder: Path, tiny_bundle: Path, tiny_data: Path
) -> None:
    bundle, locked, good = open_folder / "bundle", open_folder / "locked", open_folder / "good"
    shutil.copytree(tiny_bundle, bundle)
    shutil.copytree(tiny_data / "test" / "good", good)
    shutil.copytree(tiny_bundle, locked)
    (locked / "line.toml").write_text(f"bundle = '{bundle}'\n[source]\nuri = '{good}'\n")
    for path in (bundle, good):
        for inner in path.rglob("*"):
            inner.chmod(0o755 if inner.is_dir() else 0o644)
        path.chmod(0o755)
    locked.chmod(0)
    open_folder.chmod(0o555)
    cases = [
        (2, ("run", "-m", bundle, "-s", locked)),
        (2, ("run", "-m", bundle, "-s", locked / "0.png")),
        (2, ("run", "-m", bundle, "-s", f"watch:{locked}")),
        (2, ("check", "-c", locked / "line.toml")),
        (4, ("info", "-m", locked)),
        (2, ("edit", bundle, "--by", "me", "--image-threshold", "1")),
        (2, ("run", "-m", bundle, "-s", good, "--results", open_folder / "r.jsonl")),
        (2, ("predict", "-m", bundle, "-s", good, "-o", open_folder / "out")),
    ]
    commands = json.dumps([[str(word) for word in words] for _, words in cases])
    line = [sys.executable, "-c", AS_NOBODY, commands]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd="/", timeout=120)
    assert done.returncode == 0, done.stderr
    for (code, words), (ended, said) in zip(cases, json.loads(done.stdout), strict=True):
        assert ended == code, (words, said)
        assert str(open_folder) in said, words
        assert "user" in said, (words, said)
        # Beside the news of a line that is about to start.
        assert sum(" INFO " not in row for row in said.splitlines()) == 1, (words, said)


@pytest.mark.parametrize(
    "shortage",
    [MemoryError(), RuntimeError("can't start new thread"), OSError(errno.EMFILE, "Too many open files", "a")],
)
def test_a_machine_that_has_nothing_left_at_the_start_is_a_sentence_and_tried_again(
    shortage: Exception, monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    """The unit starts a line again unless its code is 2, 4 or 70."""

    def fail(*_: object) -> None:
        raise shortage

    monkeypatch.setattr(Bundle, "load", fail)
    done = run_cli("info", "-m", tiny_bundle, program="patchcore_edge_runtime")
    assert done.returncode == 3
    assert "no memory, threads or files left" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_fault_of_the_program_has_a_code_that_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch, tiny_bundle: Path
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Bundle, "load", fail)
    done = run_cli("info", "-m", tiny_bundle, program="patchcore_edge_runtime")
    assert done.returncode == 70
    assert "ZeroDivisionError: a bug" in done.stderr
    assert done.stderr.count("\n") == 1
    unit = Path(__file__).resolve().parents[2] / "samples" / "deploy" / "patchcore-edge.service"
    assert "RestartPreventExitStatus=2 4 70\n" in unit.read_text(encoding="utf-8")
