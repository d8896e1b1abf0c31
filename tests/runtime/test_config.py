"""``line.toml``: what is wrong is said with line and key, before anything is started."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.config_file import load_line
from patchcore_edge_runtime.serving.settings import ServerSettings
from patchcore_edge_runtime.sinks import JsonlSink, Record
from patchcore_edge_runtime.sinks.archive import ArchiveSettings
from patchcore_edge_runtime.sources import LiveSettings
from patchcore_edge_runtime.sources.settings import CAMERA_KEYS, HTTP_KEYS, LOGIN_KEYS
from patchcore_edge_runtime.verdict import Thresholds

LINE = """
name = "line 3"
bundle = "bundles/bottle"
device = "CPU"

[source]
uri = "rtsp://10.0.0.7/live"
read_timeout = 2.5
wait = true

[thresholds]
image = 2.5
warn = 2.0

[inspect]
roi = [10, 20, 300, 200]
ignore = [[[0.0, 0.0], [0.2, 0.0], [0.2, 0.1]]]
min_defect_area = 12
debounce = { ng = 2, of = 3 }

[trigger]
mode = "interval"
every_ms = 200

[sinks.jsonl]
path = "results.jsonl"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "line.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, environment: dict[str, str] | None = None, **overrides: Any) -> LineConfig:
    return load_line(write(folder, text), overrides, environment or {})


def test_a_line_says_all_there_is_to_say(tmp_path: Path) -> None:
    line = load(tmp_path, LINE)
    assert line.name == "line 3"
    assert line.source.read_timeout == 2.5
    assert line.source.open_timeout == LiveSettings().open_timeout
    assert line.sinks["jsonl"].path == Path("results.jsonl")
    rules = line.rules(Thresholds(image=9, pixel=4))
    assert rules.thresholds == Thresholds(image=2.5, pixel=4, warn=2.0)
    assert rules.roi == (10, 20, 300, 200)
    assert rules.min_defect_area == 12
    assert line.inspect.debounce is not None
    assert line.inspect.debounce.of == 3


@pytest.mark.parametrize(
    ("old", "new", "line", "key"),
    [
        ("read_timeout = 2.5", "read_timeout = -1", 8, "source.read_timeout"),
        ("read_timeout = 2.5", "red_timeout = 1", 8, "source.red_timeout"),
        ('device = "CPU"', "device = 3", 4, "device"),
        ("warn = 2.0", "warn = 'low'", 13, "thresholds.warn"),
        ("roi = [10, 20, 300, 200]", "roi = [10, 20, 300]", 16, "inspect.roi"),
        ("[0.2, 0.1]]]", "[0.2, 1.1]]]", 15, "inspect"),
        ("ng = 2, of = 3", "ng = 4, of = 3", 19, "inspect.debounce"),
        ("every_ms = 200", "", 21, "trigger"),
        ('path = "results.jsonl"', "max_mb = 3", 25, "sinks.jsonl.path"),
        ("[sinks.jsonl]", "[sinks.fax]", 25, "sinks.fax"),
        ("[thresholds]", "[treshholds]", 11, "treshholds"),
    ],
)
def test_what_is_wrong_is_said_with_line_and_key(old: str, new: str, line: int, key: str, tmp_path: Path) -> None:
    assert old in LINE
    with pytest.raises(ConfigError) as error:
        load(tmp_path, LINE.replace(old, new))
    assert f"line.toml, line {line}, {key}" in str(error.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, LINE.replace("2.5\nwait", "-1\nwait").replace('"CPU"', "1"))
    assert "line 4, device" in str(error.value)
    assert "line 8, source.read_timeout" in str(error.value)


def test_what_does_not_go_together_is_said_beside_what_is_wrong_by_itself(tmp_path: Path) -> None:
    text = LINE.replace("rtsp://10.0.0.7/live", "images").replace("read_timeout = 2.5", "read_timeout = -1")
    text = text.replace("ng = 2, of = 3", "ng = 4, of = 3").replace('path = "results.jsonl"', "path = 3")
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    said = str(error.value).split("; line.toml")[0]
    for fault in (
        "line 8, source.read_timeout: it is -1; give a number above 0",
        "line 19, inspect.debounce: 4 of 3 frames can never be NG",
        "line 26, sinks.jsonl.path: it is 3; give a path in quotes",
        "trigger.mode = 'interval' needs a camera or a stream",
    ):
        assert fault in said
    assert "pydantic" not in said
    assert "Input should" not in said


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("read_timeout", "read_timout", "there is no key read_timout; did you mean read_timeout?"),
        ("[thresholds]", "[treshholds]", "there is no key treshholds; did you mean thresholds?"),
        ("path = ", "paht = ", "there is no key paht; did you mean path?"),
        ("[sinks.jsonl]", "[sinks.json]", "there is no sink json; did you mean jsonl?"),
        ("min_defect_area", "xyz", "there is no key xyz; there are roi, ignore, min_defect_area, sanity, debounce"),
    ],
)
def test_a_misspelt_key_is_told_what_is_near(old: str, new: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, LINE.replace(old, new))
    assert words in str(error.value)


def test_broken_toml_is_said_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="line 3"):
        load(tmp_path, 'name = "x"\nbundle = "b"\ndevice = \n')


def test_an_interval_needs_a_camera(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="camera or a stream"):
        load(tmp_path, LINE.replace("rtsp://10.0.0.7/live", "images"))


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    environment = {
        "PATCHCORE_EDGE_DEVICE": "GPU",
        "PATCHCORE_EDGE_NAME": "line 4",
        "PATCHCORE_EDGE_SOURCE__READ_TIMEOUT": "7",
        "PATCHCORE_EDGE_THRESHOLDS__IMAGE": "3.5",
        "PATCHCORE_EDGE_INSPECT__ROI": "[1, 2, 30, 40]",
        "PATCHCORE_EDGE_SOURCE__URI": "0",
        "PATCHCORE_EDGE_SOMETHING_ELSE": "x",
    }
    line = load(tmp_path, LINE, environment, device="NPU", **{"thresholds.image": 4.5, "inspect.roi": None})
    assert (line.device, line.name, line.source.read_timeout) == ("NPU", "line 4", 7)
    assert line.thresholds.image == 4.5
    assert line.inspect.roi == (1, 2, 30, 40)
    assert line.source.uri == "0"
    assert load(tmp_path, LINE.replace('"rtsp://10.0.0.7/live"', "0")).source.uri == "0"


def test_what_is_wrong_outside_of_the_file_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PATCHCORE_EDGE_SOURCE__READ_TIMEOUT"):
        load(tmp_path, LINE, {"PATCHCORE_EDGE_SOURCE__READ_TIMEOUT": "soon"})
    with pytest.raises(ConfigError, match=r"command line, thresholds\.image"):
        load(tmp_path, LINE, **{"thresholds.image": -1})


def test_paths_are_relative_to_the_file_and_those_of_the_command_line_to_where_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = load(tmp_path, LINE)
    assert line.folder / line.bundle == tmp_path / "bundles" / "bottle"
    line = load(tmp_path, LINE, bundle="other")
    assert line.folder / line.bundle == tmp_path / "here" / "other"


def test_without_a_bundle_or_a_source_the_command_line_says_what_to_give() -> None:
    done = run_cli("run", program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "-m BUNDLE and -s SOURCE, or -c" in done.stderr


def test_check_says_that_a_line_is_in_order(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    text = (
        f"bundle = '{tiny_bundle}'\n[source]\nuri = '{tiny_data / 'test' / 'good'}'\n[sinks.jsonl]\npath = 'r.jsonl'\n"
    )
    config = write(tmp_path, text)
    done = run_cli("check", "-c", config, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert "in order" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["line.toml"]
    config.write_text(text.replace(str(tiny_data / "test" / "good"), "rtsp://admin:secret@10.0.0.7/live"))
    for words in ((), ("--json",)):
        done = run_cli("check", "-c", config, *words, program="patchcore_edge_runtime")
        assert "rtsp://10.0.0.7/..." in done.stdout
        assert "secret" not in done.stdout + done.stderr
    config.write_text(text + "[thresholds]\nwarn = 1e9\n")
    done = run_cli("check", "-c", config, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "WARN threshold" in done.stderr


def test_a_line_runs_from_its_file(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    source = tiny_data / "test" / "scratch"
    text = f"bundle = '{tiny_bundle}'\n[source]\nuri = '{source}'\n[sinks.jsonl]\npath = 'r.jsonl'\n"
    done = run_cli("run", "-c", write(tmp_path, text), program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert "NG 6" in done.stdout
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 6


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    [
        *("name", "bundle", "device", "source.uri", "source.wait", "thresholds", "thresholds.image", "sinks"),
        *("inspect", "inspect.roi", "inspect.ignore", "inspect.debounce", "trigger.mode", "trigger.every_ms"),
        *("sinks.jsonl", "sinks.jsonl.path", "cache_dir", "x"),
    ]
)


def line_or_sentence(read: Callable[[], LineConfig]) -> LineConfig | str:
    try:
        return read()
    except ConfigError as error:
        return str(error)


def is_a_sentence(text: str) -> bool:
    """One line that ends with a stop and says where the value was given."""
    return text.endswith(".") and "\n" not in text and ("line.toml" in text or "command line, " in text)


@settings(max_examples=150)
@given(overrides=st.dictionaries(KEYS, VALUES, max_size=4))
def test_whatever_the_values_it_is_a_line_that_says_them_or_a_sentence(
    overrides: dict[str, Any], tmp_path: Path
) -> None:
    line = line_or_sentence(lambda: load(tmp_path, LINE, **overrides))
    if isinstance(line, str):
        assert is_a_sentence(line)
        return
    # Accepted: then it is a whole line, and says again what it was told.
    again = LineConfig.model_validate({**line.model_dump(), "folder": line.folder})
    assert again == line
    said = line.model_dump()
    plain = {"name": str, "device": str, "hint": str, "hot_swap": bool, "source.wait": bool, "thresholds.image": float}
    for key, value in overrides.items():
        if key in plain and isinstance(value, plain[key]):
            table, _, inner = key.rpartition(".")
            assert (said[table][inner] if table else said[key]) == value
        assert key != "x" or value is None, "a key that there is not"


@settings(max_examples=150)
@given(data=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_is_appended_it_is_the_line_it_was_or_a_sentence(data: bytes, tmp_path: Path) -> None:
    before = load(tmp_path, LINE)
    (tmp_path / "line.toml").write_bytes(LINE.encode() + data)
    line = line_or_sentence(lambda: load_line(tmp_path / "line.toml", {}, {}))
    if isinstance(line, str):
        assert is_a_sentence(line)
        return
    # What follows the last table can only add to the sink in it, or add a sink.
    assert line.model_dump(exclude={"sinks"}) == before.model_dump(exclude={"sinks"})
    assert "jsonl" in line.sinks


def test_a_sink_is_checked_with_the_rest_and_by_whoever_makes_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, LINE.replace('"CPU"', "1").replace('path = "results.jsonl"', "pth = 3") + "[sinks.fax]\n")
    for place in ("line 4, device", "line 26, sinks.jsonl.pth", "line 25, sinks.jsonl.path", "line 27, sinks.fax"):
        assert place in str(error.value)
    with pytest.raises(ConfigError, match="there is no sink fax"):
        LineConfig(bundle=tmp_path, source={"uri": "0"}, sinks={"fax": {}})
    second = LINE + "[sinks.bad-parts]\nkind = 'archive'\nfolder = 'ng'\nmax_mb = 5\n"
    assert load(tmp_path, second).sinks["bad-parts"] == ArchiveSettings(kind="archive", folder=Path("ng"), max_mb=5)
    assert LineConfig(bundle=tmp_path, source={"uri": "0"}, sinks={"x": ArchiveSettings(folder=tmp_path)}).sinks


def test_paths_of_sinks_given_outside_of_the_file_are_relative_to_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    line = load(tmp_path, LINE, {"PATCHCORE_EDGE_SINKS__JSONL__PATH": "r.jsonl"})
    assert line.sinks["jsonl"].path == tmp_path / "here" / "r.jsonl"
    line = load(tmp_path, LINE, **{"sinks.save-ng": {"kind": "archive", "folder": Path("ng")}})
    assert line.sinks["save-ng"].folder == tmp_path / "here" / "ng"


def test_outputs_of_the_command_line_are_sinks_like_the_files(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    words = ("run", "-m", tiny_bundle, "-s", tiny_data / "test" / "scratch", "--json")
    outputs = ("--results", tmp_path / "r.jsonl", "--save-ng", tmp_path / "ng", "--save-video", tmp_path / "v.mp4")
    done = run_cli(*words, *outputs, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    written = {name: figures["written"] for name, figures in json.loads(done.stdout)["sinks"].items()}
    assert written == {"results": 6, "save-ng": 6, "save-video": 6}
    again = run_cli(*words, "--results", tmp_path / "r.jsonl", program="patchcore_edge_runtime")
    assert again.returncode == 0
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 12, "the results of the run before are kept"


def test_a_refused_record_of_files_is_no_success(
    tiny_bundle: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, lines = JsonlSink.write, []

    def full(sink: JsonlSink, record: Record) -> None:
        lines.append(record)
        if len(lines) > 4:
            raise ConfigError("The disk is full; make room.")
        write(sink, record)

    monkeypatch.setattr(JsonlSink, "write", full)
    words = ("run", "-m", tiny_bundle, "-s", tiny_data / "test" / "good", "--results", tmp_path / "r.jsonl")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert done.stderr.endswith("error: --results refused 2 of 6 records; make room or choose another place.\n")
    assert "warning: sink results refused 1 records so far: The disk is full; make room.\n" in done.stderr
    assert "sink results: 0 dropped, 2 refused (The disk is full; make room.)" in done.stdout


@pytest.mark.parametrize("option", ["--results", "--save-ng", "--save-video"])
def test_an_output_that_cannot_be_made_is_a_sentence(
    option: str, tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    words = ("run", "-m", tiny_bundle, "-s", tiny_data / "test" / "good", option, tmp_path / "file" / "v.mp4")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert str(tmp_path / "file") in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_too_large_or_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="larger"):
        load(tmp_path, "#" * (1 << 20) + LINE)
    with pytest.raises(ConfigError):
        load(tmp_path, "x = " + "[" * 50_000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no device without an end")
def test_a_device_without_an_end_is_no_configuration() -> None:
    with pytest.raises(ConfigError, match="larger than any configuration"):
        load_line(Path("/dev/zero"), {}, {})


def test_the_line_in_the_docs_is_in_order(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "line.md").read_text(encoding="utf-8")
    example = page.split("```toml\n")[1].split("```")[0]
    line = load(tmp_path, example)
    # Each table and key that there is stands in the example; a line with a server has no device, threads and cache.
    assert set(tomllib.loads(example)) == set(LineConfig.model_fields) - {"folder", "sinks", "server"}
    for key in ServerSettings.model_fields:
        assert f"\n| `{key}` | " in page.split("## A model server")[1]
    # Those of one kind of source are in sources.md.
    some = CAMERA_KEYS | LOGIN_KEYS | HTTP_KEYS | {"state"}
    assert set(tomllib.loads(example)["source"]) == set(type(line.source).model_fields) - some
    assert set(tomllib.loads(example)["inspect"]) == set(type(line.inspect).model_fields)
