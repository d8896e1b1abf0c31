"""``devices``."""

from __future__ import annotations

import typer

__all__ = ["devices"]


def devices() -> None:
    """List the devices that OpenVINO finds on this machine."""
    from ..inspection.openvino_backend import available_devices

    for name, full_name in available_devices().items():
        typer.echo(f"{name}\t{full_name}")
