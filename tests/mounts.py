"""Folders that lie on another device from one moment on, as when a share is mounted over them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

__all__ = ["device_of"]


def device_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of the device that ``folder`` and what is in it say they are on; whoever mounts changes it."""
    device, real = [1], Path.stat

    class OnDevice:
        def __init__(self, facts: os.stat_result) -> None:
            self._facts = facts

        def __getattr__(self, name: str) -> int:
            return device[0] if name == "st_dev" else getattr(self._facts, name)

    def stat(path: Path, **words: bool) -> object:
        facts = real(path, **words)
        return OnDevice(facts) if folder in (path, path.parent) else facts

    monkeypatch.setattr(Path, "stat", stat)
    return device
