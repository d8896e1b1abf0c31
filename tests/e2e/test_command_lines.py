"""Both command lines: every command and option has help, and what is public is declared."""

from __future__ import annotations

import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
import typer
from conftest import REPOSITORY, run_cli

import patchcore_edge
import patchcore_edge.cli
import patchcore_edge_export
import patchcore_edge_runtime
import patchcore_edge_runtime.cli

APPS = {"patchcore-edge": patchcore_edge.cli.app, "patchcore-edge-runtime": patchcore_edge_runtime.cli.app}
PACKAGES = (patchcore_edge, patchcore_edge_export, patchcore_edge_runtime)


def commands() -> list[tuple[str, str, click.Command]]:
    groups = {program: typer.main.get_command(app) for program, app in APPS.items()}
    return [
        (program, name, command)
        for program, group in groups.items()
        for name, command in getattr(group, "commands").items()  # noqa: B009 - typer's group is a click.Group
    ]


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_every_command_and_every_option_has_help(program: str, name: str, command: click.Command) -> None:
    assert command.help
    assert command.help.endswith(".")
    bare = [parameter.name for parameter in command.params if not getattr(parameter, "help", None)]
    assert bare == []


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_every_option_says_what_happens_without_it(program: str, name: str, command: click.Command) -> None:
    """A value is shown by the help itself; where there is none, its sentence ends with "Default: …"."""
    silent = [
        parameter.name
        for parameter in command.params
        if parameter.default is None and not parameter.required and "Default: " not in (parameter.help or "")
    ]
    assert silent == []


def test_the_commands_page_is_what_the_programs_say_of_themselves() -> None:
    module = runpy.run_path(str(REPOSITORY / "docs" / "write_commands.py"))
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    assert page == module["document"](), "run: python docs/write_commands.py"


def test_the_commands_page_says_what_each_option_means_and_which_words_it_takes() -> None:
    page = (REPOSITORY / "docs" / "commands.md").read_text(encoding="utf-8")
    rows = [row.strip("| ").split(" | ") for row in page.splitlines() if row.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if not row[1].strip()] == []
    for option, words in (("--log-format", "text, json"), ("--hint", "latency, throughput"), ("--format", "onnx")):
        assert [row for row in rows if row[0] == f"`{option}`" and f"{words}." in row[1]], option


@pytest.mark.parametrize("program", ["patchcore_edge", "patchcore_edge_runtime"])
def test_an_unknown_option_is_a_usage_error(program: str) -> None:
    assert run_cli("--no-such-option", program=program).returncode == 2


@pytest.mark.parametrize(("program", "name", "command"), commands())
def test_an_option_given_twice_is_refused_and_not_taken_by_its_last_value(
    program: str, name: str, command: click.Command
) -> None:
    options = [option for option in command.params if option.param_type_name == "option"]
    several = {option.name for option in options if option.multiple or option.count} | {"help"}
    once = [option for option in options if option.name not in several and option.nargs == 1]
    for option in once[:3]:
        words = [option.opts[0]] if option.is_flag else [option.opts[0], "1"]
        done = run_cli(name, *words, *words, program=program.replace("-", "_"))
        assert done.returncode == 2
        assert "is given 2 times; give it once" in " ".join(re.sub(r"[^ -~]", " ", done.stderr).split())


def test_an_option_that_takes_a_list_says_how_to_write_one() -> None:
    done = run_cli("train", "data", "-o", "run", "--layers", "layer2", "--layers", "layer3")
    assert done.returncode == 2
    assert "--layers A,B" in done.stderr


@pytest.mark.parametrize("program", ["patchcore_edge", "patchcore_edge_runtime"])
def test_both_distributions_say_the_same_version(program: str) -> None:
    assert run_cli("--version", program=program).stdout.strip() == patchcore_edge_runtime.__version__


def test_the_version_stands_in_one_place() -> None:
    for file in ("pyproject.toml", "runtime/pyproject.toml"):
        project = tomllib.loads((REPOSITORY / file).read_text(encoding="utf-8"))
        assert "version" in project["project"]["dynamic"]
        path = (REPOSITORY / file).parent / project["tool"]["hatch"]["version"]["path"]
        assert path.resolve() == (REPOSITORY / "runtime/patchcore_edge_runtime/version.py").resolve()


def test_every_module_declares_what_is_public_and_has_it() -> None:
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if info.name.endswith(("__main__", ".cli", ".version")):
                continue
            module = importlib.import_module(info.name)
            assert module.__doc__, info.name
            # A room's own page may say what the room is for and nothing else.
            public = getattr(module, "__all__", None) if info.ispkg else module.__all__
            assert all(hasattr(module, name) for name in public or ()), info.name


def test_the_packages_are_typed() -> None:
    for package in PACKAGES:
        (folder,) = package.__path__
        assert (REPOSITORY / folder / "py.typed").is_file()


@pytest.mark.parametrize(
    ("program", "typed", "offered"),
    [("patchcore_edge", "ca", "calibrate"), ("patchcore_edge_runtime", "ben", "benchmark")],
)
def test_a_shell_completes_commands(program: str, typed: str, offered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = program.replace("_", "-")
    command = str(Path(sys.executable).with_name(name))
    monkeypatch.setenv(f"_{program.upper()}_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"{name} {typed}")
    monkeypatch.setenv("COMP_CWORD", "1")
    done = subprocess.run([command], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [offered], done.stderr
