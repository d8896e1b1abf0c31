"""``devices``."""

from __future__ import annotations

import typer

__all__ = ["devices"]


def devices() -> None:
    """List the devices that OpenVINO finds on this machine, and why it finds no GPU or NPU."""
    from ..inspection.missing_devices import ACCELERATORS, why_missing
    from ..inspection.openvino_backend import available_devices

    found = available_devices()
    for name, full_name in found.items():
        typer.echo(f"{name}\t{full_name}")
    for device in ACCELERATORS:
        if not any(name.split(".")[0] == device for name in found):
            typer.echo(f"no {device}: {'; '.join(why_missing(device))}.", err=True)
