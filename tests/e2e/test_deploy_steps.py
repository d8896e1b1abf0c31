"""docs/deploy.md's steps for Linux, run as they are written on a PC that forgets them."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY
from deploy_machine import follow


def steps_for(bundle: Path) -> str:
    """The first shell block below "Linux: systemd", with the reader's own bundle."""
    page = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
    block = re.search(r"## Linux: systemd\n.*?```sh\n(.*?)```", page, flags=re.DOTALL)
    assert block is not None
    assert "BUNDLE" in block[1]
    # Followed for ever, and shown in a pager.
    return block[1].replace("BUNDLE", str(bundle)).replace("journalctl -u patchcore-edge -f", "journalctl")


def check_steps(bundle: Path, tmp_path: Path, *, install: bool) -> None:
    # A folder that everybody may read, as a bundle from elsewhere is.
    given = Path(shutil.copytree(bundle, tmp_path / "given"))
    done = follow(steps_for(given), tmp_path, paths=[p for p in sys.path if p], python=sys.executable, install=install)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "line.toml is in order: line 3" in done.stdout
    assert "told: READY=1 then exit code 0" in done.stdout
    assert not Path("/etc/patchcore-edge").exists(), "what the steps wrote is thrown away"


def test_the_steps_of_the_page_end_with_a_line_that_runs(tiny_bundle: Path, tmp_path: Path) -> None:
    check_steps(tiny_bundle, tmp_path, install=False)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_steps_of_the_page_install_what_the_line_needs(tiny_bundle: Path, tmp_path: Path) -> None:
    check_steps(tiny_bundle, tmp_path, install=True)
