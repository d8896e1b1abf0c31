"""``make venv`` and ``make demo``: which build of torch is installed, and what is said before."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

SCRIPT = REPOSITORY / ".ci" / "install.py"


class Pip:
    """Stands for pip: remembers its calls, and fails for those that name ``unreachable``."""

    def __init__(self, unreachable: str = "nowhere", *, of_one_build: bool = True) -> None:
        self.calls: list[tuple[str, ...]] = []
        self._unreachable, self._of_one_build = unreachable, of_one_build

    def works(self) -> bool:
        """Whether what was installed can be imported."""
        return bool(self.calls) and self._of_one_build

    def __call__(self, _python: Path, *words: str) -> int:
        self.calls.append(words)
        return int(any(self._unreachable in word for word in words))


def installer(monkeypatch: pytest.MonkeyPatch, pip: Pip, *, driver: bool, machine: str = "x86_64") -> Any:
    """The script's functions on a Linux PC with or without an NVIDIA driver, in an empty environment."""
    functions = runpy.run_path(str(SCRIPT))
    scope = functions["install_torch"].__globals__
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}" if driver else None)
    monkeypatch.setitem(scope, "pip", pip)
    monkeypatch.setitem(scope, "has_torch", lambda _python: pip.works())
    if driver is False:
        monkeypatch.setattr(scope["Path"], "exists", lambda _self: False)
    return functions["install_torch"]


def test_without_a_gpu_torch_is_the_build_for_cpus(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = Pip()
    installer(monkeypatch, pip, driver=False)(Path("python"), "auto")
    (call,) = pip.calls
    assert call[call.index("--index-url") + 1].endswith("/whl/cpu")
    said = capsys.readouterr().out
    assert "0.7 GB" in said
    assert "TORCH=default" in said


def test_beside_an_nvidia_driver_it_is_the_package_indexs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pip = Pip()
    installer(monkeypatch, pip, driver=True)(Path("python"), "auto")
    assert pip.calls == []  # what the requirements bring
    assert "3.5 GB" in capsys.readouterr().out


def test_an_index_that_does_not_answer_is_said_and_the_other_build_comes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    installer(monkeypatch, Pip("pytorch.org"), driver=False)(Path("python"), "auto")
    assert "taking the package index's build: about 3.5 GB" in capsys.readouterr().out


def test_two_builds_that_do_not_go_together_are_taken_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip(of_one_build=False)
    installer(monkeypatch, pip, driver=False)(Path("python"), "auto")
    assert pip.calls[-1] == ("uninstall", "--yes", "torch", "torchvision")


def test_a_build_that_somebody_asked_for_is_not_replaced_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="TORCH=default"):
        installer(monkeypatch, Pip("xpu"), driver=False)(Path("python"), "xpu")


def test_where_the_package_index_has_builds_for_cpus_only_nothing_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip()
    installer(monkeypatch, pip, driver=False, machine="riscv64")(Path("python"), "auto")
    assert pip.calls == []
