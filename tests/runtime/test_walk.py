"""The files that a frame crosses, as docs/architecture.md lists them: from the camera to a line of JSON."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, bad_part

import patchcore_edge_runtime
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import run_line
from patchcore_edge_runtime.sinks import Record
from patchcore_edge_runtime.sources import LiveSource

PACKAGE = Path(patchcore_edge_runtime.__file__).parent
BEFORE, FOLLOWED = 3, 6
"""Records that are written before the noting begins, when all is open and warm, and during it."""


class Camera:
    """Scratched parts in peace; from one frame on it is noted which files are entered."""

    fps = 20.0

    def __init__(self, seen: set[str]) -> None:
        self.number, self.wanted, self.noting, self.seen = 0, False, False, seen

    def read(self) -> np.ndarray:
        time.sleep(1 / self.fps)
        self.number += 1
        self.noting = self.wanted
        return bad_part(self.number)

    def close(self) -> None: ...

    def note(self, frame: FrameType, event: str, _argument: Any) -> None:
        file = Path(frame.f_code.co_filename)
        if self.noting and event == "call" and file.is_relative_to(PACKAGE):
            self.seen.add(file.relative_to(PACKAGE).as_posix())


class EndsAfter:
    """Begins the noting, and ends it and the line when the frame that was followed has long been written."""

    def __init__(self, camera: Camera, source: LiveSource) -> None:
        self._camera, self._source, self._written = camera, source, 0

    def write(self, _record: Record) -> None:
        self._written += 1
        if self._written == BEFORE:
            self._camera.wanted = True
        elif self._written == BEFORE + FOLLOWED:
            self._camera.wanted = self._camera.noting = False
            self._source.stop()

    def close(self) -> None: ...


@contextmanager
def profiled(note: Any) -> Iterator[None]:
    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(before)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or a coverage tool is looking already")
def test_a_frame_crosses_the_files_that_the_docs_list(tiny_bundle: Path, tmp_path: Path) -> None:
    seen: set[str] = set()
    camera = Camera(seen)
    config = LineConfig(bundle=tiny_bundle, source={"uri": "camera://"}, sinks={"jsonl": {"path": tmp_path / "r"}})
    with profiled(camera.note), closing(LiveSource("camera", lambda: camera)) as source:
        run_line(config, source, sinks={"end": EndsAfter(camera, source)})
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = page.split("## The walk of a frame")[1].split("\n## ")[0]
    listed = re.findall(r"^\| `([a-z_/]+\.py)` \|", walk, flags=re.MULTILINE)
    assert seen == set(listed)
    assert f"crosses {len(listed)} files" in walk
