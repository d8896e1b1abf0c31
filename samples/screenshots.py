"""The pictures in docs/images: ``python -m samples.screenshots -m BUNDLE`` with a bundle that ``make demo`` made.

Needs Xvfb, ffmpeg and Chromium, and the extra ``http``. The cells are from elpv-dataset, CC BY-NC-SA 4.0: Buerhop-Lutz
et al., "A Benchmark for Visual Identification of Defective Solar Cells in Electroluminescence Imagery" (EU PVSEC 2018).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from patchcore_edge_runtime import Inspector, Verdict
from patchcore_edge_runtime.display.overlay import draw_overlay
from patchcore_edge_runtime.display.window import Window
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import as_bgr8
from patchcore_edge_runtime.monitoring.status import LineStatus
from patchcore_edge_runtime.sinks import HttpSink, Record, SinkContext, SinkWorker
from patchcore_edge_runtime.sinks.http.settings import HttpSettings
from patchcore_edge_runtime.sources import Frame

from .demo.cells import write_cells
from .demo.line_video import ROI, choose_parts, render

PARTS = 60
SCREEN = (960, 720)
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]


def frames_of_a_line(folder: Path) -> list[np.ndarray]:
    """Shots of solar cells on a belt, 640x480, with one of a camera whose lens was covered."""
    write_cells(folder / "data")
    render(choose_parts(folder / "data")[:PARTS], folder / "line.avi", folder / "truth.jsonl")
    capture = cv2.VideoCapture(str(folder / "line.avi"))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    frames[PARTS // 2] = np.zeros_like(frames[0])
    return frames


def inspect(inspector: Inspector, frames: list[np.ndarray]) -> list[Record]:
    # A second limit, so that there is a WARN to be seen.
    inspector.thresholds = inspector.thresholds.model_copy(update={"warn": 0.85 * inspector.thresholds.image})
    now = time.time()
    return [
        Record(Frame(index, f"camera 3#{index}", image, now + index / 4), inspector(image))
        for index, image in enumerate(frames)
    ]


def verdicts(records: list[Record]) -> np.ndarray:
    """One of each verdict in a square."""
    pictures = []
    for verdict in Verdict:
        record = next(record for record in records if record.result.verdict is verdict)
        pictures.append(draw_overlay(record.picture(), record.result))
    return np.vstack([np.hstack(pictures[:2]), np.hstack(pictures[2:])])


@contextmanager
def virtual_screen() -> Iterator[str]:
    read, write = os.pipe()
    words = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{SCREEN[0]}x{SCREEN[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=(write,), stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as numbers:
            yield f":{numbers.readline().strip()}"
    finally:
        server.terminate()
        server.wait()


def window(inspector: Inspector, records: list[Record], target: Path) -> None:
    """The window as it stands on a screen, with an NG in it."""
    with virtual_screen() as display:
        os.environ["DISPLAY"] = display
        status = LineStatus("line 3", inspector.manifest.model_id)
        shown = Window(inspector, status)
        shown.press("h")  # the keys, which lie over the part in the first seconds, away
        last = max(index for index, record in enumerate(records) if record.result.verdict is Verdict.NG)
        for record in records[: last + 1]:
            status.add(record.result)
            shown(record)
            shown.pump()
        for _ in range(10):
            shown.pump()
        size = f"{SCREEN[0]}x{SCREEN[1]}"
        grab = ["ffmpeg", "-loglevel", "error", "-y", "-f", "x11grab", "-video_size", size, "-i", display]
        shot = target.with_suffix(".png")
        subprocess.run([*grab, "-frames:v", "1", str(shot)], check=True)
        shown.close()
    # The window without the empty screen around it.
    image = as_bgr8(read_image(shot))
    shot.unlink()
    x, y, width, height = cv2.boundingRect((image.max(axis=2) > 0).astype(np.uint8))
    cv2.imwrite(str(target), image[y : y + height, x : x + width], JPEG)


def status_page(inspector: Inspector, records: list[Record], target: Path, profile: Path) -> None:
    """The status page in Chromium."""
    context = SinkContext(status=LineStatus("line 3", inspector.manifest.model_id))
    sink = HttpSink(HttpSettings(port=0), context)
    worker = SinkWorker("http", sink, status=context.status)
    last = max(index for index, record in enumerate(records) if record.result.verdict is Verdict.NG)
    for record in records[: last + 1]:
        context.status.add(record.result)
        worker.write(record)
        time.sleep(0.04)
    shot = target.with_suffix(".png")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--window-size=1280,720"]
    words = ["chromium", *flags, f"--user-data-dir={profile}", "--timeout=3000", f"--screenshot={shot}"]
    subprocess.run([*words, f"http://127.0.0.1:{sink.port}/"], check=True, stderr=subprocess.DEVNULL)
    worker.close()
    cv2.imwrite(str(target), as_bgr8(read_image(shot)), JPEG)
    shot.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-m", "--model", type=Path, default=Path("demo/bundle"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    inspector = Inspector(options.model, roi=ROI)
    with tempfile.TemporaryDirectory() as folder:
        records = inspect(inspector, frames_of_a_line(Path(folder)))
        cv2.imwrite(str(options.output / "verdicts.jpg"), verdicts(records), JPEG)
        window(inspector, records, options.output / "window.jpg")
        status_page(inspector, records, options.output / "status-page.jpg", Path(folder) / "profile")
    for path in sorted(options.output.glob("*.jpg")):
        print(f"{path}  {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
