"""Writes docs/commands.md from the command lines' own help: python docs/write_commands.py."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

import typer

import patchcore_edge.cli
import patchcore_edge_runtime.cli

APPS = {"patchcore-edge": patchcore_edge.cli.app, "patchcore-edge-runtime": patchcore_edge_runtime.cli.app}
INTRO = """# Commands

Written by `python docs/write_commands.py` from the programs' own `--help`.

Exit codes: 0 done, also for a line that Ctrl-C stopped; 2 usage, configuration or data, and what this user may not read
or write; 3 device or source, or no memory, threads or files left; 4 bundle integrity or parity; 70 a fault of the
program; 130 Ctrl-C; 141 nobody reads what is printed. Never 1.
"""


def _options(command: Any) -> list[str]:
    rows = ["| option | meaning | default |", "|---|---|---|"]
    for parameter in command.params:
        names = ", ".join([*parameter.opts, *parameter.secondary_opts])
        name = parameter.name.upper() if parameter.param_type_name == "argument" else names
        meaning, _, said = parameter.help.partition("Default: ")
        rows.append(f"| `{name}` | {_cell(meaning + _choices(parameter))} | {_cell(_default(parameter, said))} |")
    return rows


def _choices(parameter: Any) -> str:
    """The words that may be given, where they are few and known; as ``--help`` shows them."""
    kind = parameter.type_descriptor.annotation
    if not (isinstance(kind, type) and issubclass(kind, Enum)):
        return ""
    return f" One of {', '.join(str(one.value) for one in kind)}."


def _default(parameter: Any, said: str) -> str:
    """The value, or what the help says of it."""
    if parameter.required:
        return "required"
    if said:
        return said.rstrip(".")
    if parameter.count:
        return "off"
    switch = "off" if not parameter.secondary_opts else f"no: {parameter.secondary_opts[0]}"
    return switch if parameter.default is False else "yes" if parameter.default is True else str(parameter.default)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|")


def document() -> str:
    """The whole page as Markdown."""
    parts = [INTRO]
    for program, app in APPS.items():
        group: Any = typer.main.get_command(app)
        parts.append(f"## {program}\n\n{group.help}\n")
        for name, command in group.commands.items():
            parts.append("\n".join([f"### `{program} {name}`", "", command.help, "", *_options(command), ""]))
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_name("commands.md").write_text(document(), encoding="utf-8")
