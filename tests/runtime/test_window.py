"""The window under Xvfb, its keys pressed by xdotool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from line_records import make_record, program, wait_for

from patchcore_edge_runtime.display.window import KEYS, Window
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.verdict import Verdict

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
sizes = [tuple(map(int, size.split("x"))) for size in sys.argv[4:]] or [(640, 480)]
window = Window(line, status, live=sys.argv[3] == "live", folder=folder)

def inspect():
    index = 0
    while True:
        turned = (folder / "turned").exists()
        record = make_record(Verdict.NG, index, sizes[-1] if turned else sizes[0])
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
    """A virtual screen of 1024x768 and, on it, a line with a window."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        read, write = os.pipe()
        # Without -noreset it begins anew when its last client goes, and a window that comes just then is turned away.
        words = [
            program("Xvfb"),
            "-displayfd",
            str(write),
            "-screen",
            "0",
            "1024x768x24",
            "-noreset",
            "-nolisten",
            "tcp",
        ]
        self.server = subprocess.Popen(words, pass_fds=(write,), stderr=subprocess.DEVNULL)
        os.close(write)
        with os.fdopen(read) as numbers:
            self.environment = {**os.environ, "DISPLAY": f":{numbers.readline().strip()}"}
        self.line: subprocess.Popen[bytes] | None = None

    def start(self, kind: str, *sizes: str) -> None:
        tests = str(Path(__file__).resolve().parents[1])
        self.run("-c", LINE, tests, str(self.folder), kind, *sizes)
        wait_for(lambda: (self.folder / "facts.json").exists() or self.line.poll() is not None, 60)

    def run(self, *words: str) -> None:
        self.line = subprocess.Popen([sys.executable, *words], env=self.environment)
        # A window that is there, but not on the screen yet, takes no focus, and keys for it are lost.
        wait_for(lambda: bool(self.windows()), 60)

    def windows(self) -> list[str]:
        return self.xdotool("search", "--onlyvisible", "--name", "patchcore-edge").split()

    def xdotool(self, *words: str) -> str:
        done = subprocess.run([program("xdotool"), *words], env=self.environment, capture_output=True, check=False)
        return done.stdout.decode().strip()

    def press(self, key: str) -> None:
        wait_for(self._focused, 60)
        self.xdotool("key", key)

    def _focused(self) -> bool:
        """Whether keys reach the window; asks for that where they do not. Fullscreen may give it another number."""
        windows = self.windows()
        if self.xdotool("getwindowfocus") in windows:
            return True
        if windows:
            self.xdotool("windowfocus", windows[-1])
        return False

    def shot(self) -> np.ndarray:
        """What is on the screen, HxWx3 uint8 BGR."""
        path = self.folder / "shot.png"
        grab = [program("ffmpeg"), "-loglevel", "error", "-y", "-f", "x11grab", "-draw_mouse", "0"]
        subprocess.run(
            [*grab, "-video_size", "1024x768", "-i", self.environment["DISPLAY"], "-frames:v", "1", str(path)],
            check=True,
        )
        return cv2.imread(str(path))

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


def disc(shot: np.ndarray) -> tuple[int, int] | None:
    """Width and height in pixels of the grey disc that the frames show; None while it is not whole on the screen."""
    grey = ((shot > 140) & (shot < 160)).all(axis=2).astype(np.uint8)
    count, _, stats, _ = cv2.connectedComponentsWithStats(cv2.morphologyEx(grey, cv2.MORPH_OPEN, np.ones((5, 5))))
    if count < 2:
        return None
    _, _, width, height, area = max(stats[1:], key=lambda one: one[4])
    return (int(width), int(height)) if area > 0.6 * width * height else None


def ground(shot: np.ndarray) -> tuple[int, int]:
    """Width and height of all that is on the screen and not black."""
    _, _, width, height = cv2.boundingRect((shot.max(axis=2) > 0).astype(np.uint8))
    return int(width), int(height)


def settled(screen: Screen, condition: Callable[[np.ndarray], bool]) -> np.ndarray:
    """The first picture of the screen that meets a condition."""
    found: list[np.ndarray] = []

    def met() -> bool:
        found.append(screen.shot())
        return condition(found[-1])

    wait_for(met, 60)
    return found[-1]


def is_round(shot: np.ndarray) -> bool:
    sides = disc(shot)
    return sides is not None and abs(sides[0] - sides[1]) <= 3 and min(sides) > 100


def test_the_window_takes_the_shape_of_the_frames_and_fits_the_screen(screen: Screen) -> None:
    """Circles are circles: with a frame larger than the screen, and with one of another shape after it."""
    screen.start("live", "1920x1080", "800x1000")
    # The keys lie over the part in the first seconds.
    wide = settled(screen, lambda shot: is_round(shot) and ground(shot)[0] > 1.4 * ground(shot)[1])
    assert ground(wide)[0] <= 1024
    (screen.folder / "turned").touch()
    high = settled(screen, lambda shot: is_round(shot) and ground(shot)[1] > 1.3 * ground(shot)[0])
    assert ground(high)[1] <= 768
    screen.press("q")
    assert screen.line.wait(20) == 0


def test_a_window_that_was_dragged_larger_stays_so_and_shows_circles(screen: Screen) -> None:
    screen.start("live", "640x480", "800x1000")
    settled(screen, is_round)
    time.sleep(1.5)  # by then a window has the size that the program asked for
    screen.xdotool("windowsize", screen.windows()[-1], "1000", "400")
    before = settled(screen, lambda shot: is_round(shot) and ground(shot)[1] <= 400)
    (screen.folder / "turned").touch()
    after = settled(screen, lambda shot: is_round(shot) and disc(shot) != disc(before))
    assert ground(after)[1] <= 400


def test_the_keys_are_shown_at_the_start_and_on_h(screen: Screen) -> None:
    record = make_record(Verdict.NG)
    status = LineStatus("line 3")
    environment = {"DISPLAY": screen.environment["DISPLAY"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", environment["DISPLAY"])
        window = Window(object(), status)
    at_first = window.picture(record)
    window.press("h")
    without = window.picture(record)
    window.press("h")
    assert np.array_equal(window.picture(record), at_first)
    covered = (at_first != without).any(axis=2)
    assert covered.mean() > 0.2
    # The ground is at most 0.3 of white; OpenCV 4 draws thin letters a little darker than white.
    letters = (at_first > 200).all(axis=2) & covered
    rows = np.diff(np.concatenate([[0], letters.any(axis=1).astype(int)]))
    assert (rows == 1).sum() >= len(KEYS), "a line for each key"


def test_the_keys_of_a_live_line(screen: Screen) -> None:
    screen.start("live")
    screen.press("plus")
    wait_for(lambda: screen.facts()["limit"] > 3.0)
    assert screen.facts()["limit"] == pytest.approx(3.0 * 1.02)
    screen.press("minus")
    wait_for(lambda: screen.facts()["limit"] == pytest.approx(3.0))
    screen.press("m")
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
    overlay = cv2.imread(str(raw).replace(".png", "_overlay.png"))
    assert overlay.shape[0] > 480
    assert overlay.shape[1] > 640


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
