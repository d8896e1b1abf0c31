"""What other packages add to the host: commands and an exporter, found by their entry points.

The host imports none of them. ``patchcore_edge.commands`` names functions that add commands to the command line,
``patchcore_edge.exporter`` what ``Engine.export`` calls, and ``patchcore_edge.meter`` what ``tune`` times graphs with.
An entry point is loaded where it is used, and what it imports in turn may be missing: that is one sentence with the
remedy, in that command alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Protocol

import typer

from patchcore_edge_runtime.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from patchcore_edge_runtime.bundle.manifest import Manifest
    from patchcore_edge_runtime.images.preprocess import Image

    from .data import DataModule
    from .models import Patchcore

__all__ = [
    "COMMANDS",
    "EXPORTER",
    "METER",
    "PRECISIONS",
    "Exporter",
    "Meter",
    "load_exporter",
    "load_meter",
    "mount_commands",
    "needs_export_extra",
]

COMMANDS = "patchcore_edge.commands"
"""Group of entry points: functions that are given the application and add commands to it."""

EXPORTER = "patchcore_edge.exporter"
"""Group of entry points: an ``Exporter``; the one named ``openvino`` is used."""

METER = "patchcore_edge.meter"
"""Group of entry points: a ``Meter``; the one named ``openvino`` is used."""

PRECISIONS = ("fp32", "bf16", "int8")

_INSTALL = "run: pip install 'patchcore-edge[export]'"


class Exporter(Protocol):
    """What ``Engine.export`` calls."""

    def __call__(
        self,
        model: Patchcore,
        datamodule: DataModule,
        output: Path,
        options: Any = None,
        *,
        target_fpr: float | None = None,
        device: str = "cpu",
        strict: bool = False,
    ) -> Manifest:
        """As ``Engine.export``; calibration runs on torch's ``device``, and ``strict`` is the engine's."""
        ...


class Meter(Protocol):
    """What ``tune`` times graphs with."""

    def __call__(
        self,
        model: Patchcore,
        images: Sequence[Image],
        device: str,
        precisions: Sequence[str] = ("fp32", "bf16", "int8"),
    ) -> dict[str, tuple[float, float]]:
        """Compile the graph of a model with a bank, in some precisions.

        Args:
            model: its bank may hold anything: only sizes cost time.
            images: HxWx3 uint8 BGR of the model's size.
            device: OpenVINO's name.
            precisions: of those that may be named; the device may have no ``bf16``.

        Returns:
            precision → milliseconds a frame (median) and 2²⁰ bytes on disk.
        """
        ...


def mount_commands(app: typer.Typer) -> None:
    """Add the commands of every installed package; those of one that cannot be imported say so when called."""
    found = entry_points(group=COMMANDS)
    for plugin in found:
        try:
            plugin.load()(app)
        except ImportError as error:
            _mount_refusal(app, plugin.name, f"`{plugin.name}` cannot be imported ({error}); {_INSTALL}")
    if "export" not in found.names:
        _mount_refusal(app, "export", f"The export package is not installed; {_INSTALL}")


def load_exporter() -> Exporter:
    """The installed exporter.

    Raises:
        ConfigError: there is none, or something that it needs is not installed.
    """
    exporter: Exporter = _loaded(EXPORTER)
    return exporter


def load_meter() -> Meter:
    """What times graphs.

    Raises:
        ConfigError: there is none, or something that it needs is not installed.
    """
    meter: Meter = _loaded(METER)
    return meter


@contextmanager
def needs_export_extra() -> Iterator[None]:
    """Imports of what the extra ``export`` installs.

    Raises:
        ConfigError: one of them is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigError(f"Exporting needs {error.name}, which is not installed; {_INSTALL}") from None


def _loaded(group: str) -> Any:
    found = entry_points(group=group, name="openvino")
    if not found:
        raise ConfigError(f"The export package is not installed; {_INSTALL}")
    with needs_export_extra():
        return next(iter(found)).load()


def _mount_refusal(app: typer.Typer, name: str, sentence: str) -> None:
    """A command that only says why it is not there."""

    def refuse() -> None:
        raise ConfigError(sentence)

    # Whatever else the line says, it is that sentence which helps.
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help="Not installed: it needs the extra `export`.", context_settings=settings)(refuse)
