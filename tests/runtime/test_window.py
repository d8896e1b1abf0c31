"""The window under Xvfb, its keys pressed by xdotool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest
from line_records import program, wait_for

from patchcore_edge_runtime.display.window import Window
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.monitoring.status import LineStatus

LINE = """
import json, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from line_records import THRESHOLDS, make_record
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.verdict import Verdict
from patchcore_edge_runtime.display.window import Window

class Line:
    thresholds = THRESHOLDS

line, status, folder = Line(), LineStatus("line 3"), Path(sys.argv[2])
window = Window(line, status, live=sys.argv[3] == "live", folder=folder)

def inspect():
    index = 0
    while True:
        record = make_record(Verdict.NG, index)
        status.add(record.result)
        if not window(record):
            break
        index += 1
        tell(index)
        time.sleep(0.02)

def tell(index):
    facts = {"frames": index, "limit": line.thresholds.image, "heatmap": window.heatmap, "full": window.fullscreen}
    (folder / "facts.new").write_text(json.dumps(facts))
    (folder / "facts.new").replace(folder / "facts.json")

thread = threading.Thread(target=inspect)
thread.start()
while window.pump():
    pass
thread.join()
window.close()
(folder / "ended").touch()
"""


class Screen:
    """A virtual screen and, on it, a line with a window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read, write = os.pipe()
        words = [program("Xvfb"), "-displayfd", str(write), "-screen", "0", "1024x768x24", "-nolisten", "tcp"]
        self.server = subprocess.Popen(words, pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as numbers:
            self.environment = {**os.environ, "DISPLAY": f":{numbers.readline().strip()}"}
        self.line: subprocess.Popen[bytes] | None = None

    def start(self, kind: str) -> None:
        tests = str(Path(__file__).resolve().parents[1])
        self.run("-c", LINE, tests, str(self.folder), kind)
        wait_for(lambda: (self.folder / "facts.json").exists() or self.line.poll() is not None, 60)

    def run(self, *words: str) -> None:
        self.line = subprocess.Popen([sys.executable, *words], env=self.environment)
        wait_for(lambda: bool(self.xdotool("search", "--name", "patchcore-edge")), 60)
        self.window = self.xdotool("search", "--name", "patchcore-edge").split()[-1]

    def xdotool(self, *words: str) -> str:
        done = subprocess.run([program("xdotool"), *words], env=self.environment, capture_output=True, check=False)
        return done.stdout.decode().strip()

    def press(self, key: str) -> None:
        self.xdotool("windowfocus", self.window)
        self.xdotool("key", key)

    def facts(self) -> dict:
        return json.loads((self.folder / "facts.json").read_text())

    def close(self) -> None:
        if self.line is not None:
            self.line.kill()
            self.line.wait()
        # Asked, not killed: it takes its socket and its lock away, which the next one would stumble over.
        self.server.terminate()
        self.server.wait()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    program("xdotool")
    screen = Screen(tmp_path)
    yield screen
    screen.close()


def test_the_keys_of_a_live_line(screen: Screen) -> None:
    screen.start("live")
    screen.press("plus")
    wait_for(lambda: screen.facts()["limit"] > 3.0)
    assert screen.facts()["limit"] == pytest.approx(3.0 * 1.02)
    screen.press("minus")
    wait_for(lambda: screen.facts()["limit"] == pytest.approx(3.0))
    screen.press("h")
    wait_for(lambda: screen.facts()["heatmap"] == "heatmap above the threshold only")
    screen.press("f")
    wait_for(lambda: screen.facts()["full"])
    screen.press("space")
    frames = screen.facts()["frames"]
    wait_for(lambda: screen.facts()["frames"] > frames + 5)
    screen.press("s")
    wait_for(lambda: len(list(screen.folder.glob("*_NG.png"))) == 1)
    screen.press("q")
    wait_for((screen.folder / "ended").exists)
    assert screen.line.wait(20) == 0
    (raw,) = screen.folder.glob("*_NG.png")
    assert cv2.imread(str(raw)).shape == (480, 640, 3)
    assert cv2.imread(str(raw).replace(".png", "_overlay.png")).shape == (480, 640, 3)


def test_space_holds_files_until_it_is_pressed_again_and_escape_ends(screen: Screen) -> None:
    screen.start("files")
    screen.press("space")
    held = -1
    deadline = time.monotonic() + 20
    while screen.facts()["frames"] != held:
        held = screen.facts()["frames"]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    screen.press("space")
    wait_for(lambda: screen.facts()["frames"] > held + 3)
    screen.press("Escape")
    wait_for((screen.folder / "ended").exists)
    assert screen.line.wait(20) == 0


def test_q_ends_a_line_that_waits_for_its_first_frame(screen: Screen, tiny_bundle: Path) -> None:
    source = ("-s", f"watch:{screen.folder}", "--show")
    screen.run("-m", "patchcore_edge_runtime", "run", "-m", str(tiny_bundle), *source)
    screen.press("q")
    assert screen.line.wait(20) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only there may a screen be missing")
def test_without_a_screen_it_says_so_in_place_of_ending_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="leave --show away"):
        Window(object(), LineStatus())
