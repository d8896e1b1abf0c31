"""What samples/deploy holds goes with what the runtime understands."""

from __future__ import annotations

import configparser
import shlex
import subprocess
from pathlib import Path

import pytest
from line_records import program
from typer.main import get_command

from patchcore_edge_runtime.cli import app
from patchcore_edge_runtime.line.config_file import load_line

DEPLOY = Path(__file__).resolve().parents[2] / "samples" / "deploy"


def test_the_sample_line_is_a_valid_one() -> None:
    line = load_line(DEPLOY / "line.toml", {}, {})
    assert set(line.sinks) == {"http", "jsonl", "archive", "mqtt", "modbus"}


def _unit() -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str
    unit.read(DEPLOY / "patchcore-edge.service")
    return unit


def test_the_unit_starts_a_command_that_exists_and_waits_for_ready() -> None:
    service = _unit()["Service"]
    words = shlex.split(service["ExecStart"])
    command = get_command(app).commands[words[1]]
    options = {name for parameter in command.params for name in parameter.opts}
    assert {word for word in words[2:] if word.startswith("-")} <= options
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    # Those that no new try can mend.
    assert service["RestartPreventExitStatus"].split() == ["2", "4", "70"]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    text = (DEPLOY / "patchcore-edge.service").read_text()
    unit = tmp_path / "patchcore-edge.service"
    unit.write_text(text.replace("/opt/patchcore-edge/bin/patchcore-edge-runtime", "/bin/true"))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    if "Failed to" in done.stderr and "bus" in done.stderr:
        pytest.skip("needs a system on which systemd-analyze verify works")
    assert done.stderr == ""
    assert done.returncode == 0
