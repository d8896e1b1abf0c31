"""Cameras for the loop's benchmark: solar cells as frames of any size, from memory or as motion JPEG over HTTP."""

from __future__ import annotations

import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.images.preprocess import Image
from samples.demo.cells import TRAIN_IMAGES, cell_files

FRAMES = 12
"""Different frames, taken in turns; every sixth shows a defective cell."""
NG_EVERY = 6
_NOISE = 1.0


def cell_frames(width: int, height: int) -> list[Image]:
    """Solar cells that the model was not fitted on, stretched over the frame, each with a noise of its own.

    Preprocessing ignores the aspect ratio, so the model sees an undistorted cell.
    """
    good, defective = cell_files()
    random.Random(0).shuffle(good)
    noise = np.random.default_rng(0)
    frames = []
    for number in range(FRAMES):
        file = defective[number] if number % NG_EVERY == NG_EVERY - 1 else good[TRAIN_IMAGES + number]
        cell = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert cell is not None
        large = cv2.resize(cell, (width, height), interpolation=cv2.INTER_CUBIC)
        grain = noise.normal(0, _NOISE, (height, width)).astype(np.float32)
        shot = np.clip(large + grain, 0, 255).astype(np.uint8)
        frames.append(cv2.cvtColor(shot, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False))
    return frames


class MemoryCamera:
    """A camera whose driver hands out a new frame at a steady rate; what ``LiveSource`` opens.

    Args:
        frames: given in turns, each time as a copy in new memory.
        fps: frames per second.
    """

    def __init__(self, frames: list[Image], fps: float) -> None:
        self.fps = fps
        self._frames = frames
        self._number = 0
        self._due = time.monotonic()

    def read(self) -> NDArray[Any]:
        """The next frame, when it is due."""
        image = self._frames[self._number % len(self._frames)].copy()
        self._number += 1
        self._due = max(self._due + 1 / self.fps, time.monotonic() - 1 / self.fps)
        time.sleep(max(0.0, self._due - time.monotonic()))
        return image

    def close(self) -> None:
        """Nothing is held."""


class MjpegCameras:
    """Motion JPEG at ``/0``, ``/1`` …, encoded beforehand, each with another frame to begin with.

    Args:
        frames: given in turns.
        fps: frames per second of each camera.
    """

    def __init__(self, frames: list[Image], fps: float) -> None:
        jpegs = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes() for frame in frames]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                number, due = int(self.path[1:]), time.monotonic()
                try:
                    while True:
                        data = jpegs[number % len(jpegs)]
                        head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                        self.wfile.write(head.encode() + data + b"\r\n")
                        number, due = number + 1, max(due + 1 / fps, time.monotonic())
                        time.sleep(max(0.0, due - time.monotonic()))
                except OSError:
                    return  # the line has hung up

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, camera: int) -> str:
        """Where a camera is found."""
        return f"http://127.0.0.1:{self._server.server_port}/{camera}"

    def close(self) -> None:
        """Take no more connections."""
        self._server.shutdown()
        self._server.server_close()
