"""Commands and an exporter from other packages; what is not installed says so where it is asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from patchcore_edge import plugins
from patchcore_edge_runtime.command import new_app
from patchcore_edge_runtime.errors import ConfigError

REMEDY = r"pip install 'patchcore-edge\[export\]'"


def mounted() -> typer.Typer:
    app = new_app("A program.")
    plugins.mount_commands(app)
    app.command("own", help="A command of its own.")(lambda: typer.echo("done"))
    return app


def test_the_export_adds_its_commands() -> None:
    shown = CliRunner().invoke(mounted(), ["--help"]).stdout
    assert all(name in shown for name in ("export", "verify", "model-api"))


def test_help_waits_for_no_torch_and_no_converter() -> None:
    program = "import json, sys, patchcore_edge.cli; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(subprocess.check_output([sys.executable, "-c", program])))
    assert "patchcore_edge_export.commands" in loaded
    assert not loaded & {"torch", "timm", "onnx", "onnxruntime", "nncf", "scipy"}


def test_a_package_that_cannot_be_imported_takes_only_its_own_commands_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{plugins.COMMANDS}]\nbroken = no_such_package:register\n")
    monkeypatch.syspath_prepend(tmp_path)
    app = mounted()
    assert CliRunner().invoke(app, ["own"]).stdout == "done\n"
    assert "verify" in CliRunner().invoke(app, ["--help"]).stdout
    refused = CliRunner().invoke(app, ["broken", "RUN", "--to", "X"]).exception
    assert isinstance(refused, ConfigError)
    assert "no_such_package" in str(refused)


def test_without_the_export_its_command_and_its_exporter_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints())
    refused = CliRunner().invoke(mounted(), ["export", "RUN", "-o", "BUNDLE"]).exception
    with pytest.raises(ConfigError, match=REMEDY):
        raise refused or AssertionError("it went through")
    with pytest.raises(ConfigError, match=REMEDY):
        plugins.load_exporter()


def test_an_exporter_that_lacks_a_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("openvino", "no_such_package:export_model", plugins.EXPORTER)
    monkeypatch.setattr(plugins, "entry_points", lambda **_: EntryPoints([point]))
    with pytest.raises(ConfigError, match=f"no_such_package.*{REMEDY}"):
        plugins.load_exporter()


@pytest.mark.parametrize("words", [("export", "RUN", "-o", "B"), ("verify", "B", "--run", "RUN")])
def test_without_the_extra_a_command_is_one_sentence_and_exits_2(words: tuple[str, ...]) -> None:
    program = f"""
import sys
sys.modules["onnx"] = None
sys.argv = ["patchcore-edge", *{words!r}]
import patchcore_edge.cli
patchcore_edge.cli.main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == (
        "error: Exporting needs onnx, which is not installed; run: pip install 'patchcore-edge[export]'\n"
    )
