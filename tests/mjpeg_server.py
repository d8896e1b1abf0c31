"""A camera for tests: motion JPEG over HTTP on loopback, with faults on demand."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

MakeFrame = Callable[[int], np.ndarray]


class MjpegServer:
    """Serves ``make_frame(number)`` as ``/stream``; ``start`` and ``stop`` switch the camera on and off at one port.

    Attributes:
        pause: seconds between two frames.
        stalled: while set, a frame is cut in half and the rest does not come.
        corrupt: while set, every frame is broken: cut off, or with garbage inside.
        sized: whether frames say their length.
        sent: number of whole frames sent.
    """

    def __init__(self, make_frame: MakeFrame, pause: float = 0.02, port: int = 0) -> None:
        self.make_frame, self.pause, self.port = make_frame, pause, port
        self.stalled, self.corrupt, self.sized = threading.Event(), threading.Event(), True
        self.sent = 0
        self._on = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    def start(self) -> None:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    camera.serve(self)
                except OSError:
                    return

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass

        self._on.set()
        self._server = Server(("127.0.0.1", self.port), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Switch off in the middle of whatever is being sent."""
        self._on.clear()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        on, number = self._on, 0
        while on.is_set():
            data = cv2.imencode(".jpg", self.make_frame(number))[1].tobytes()
            number += 1
            if self.corrupt.is_set():
                data = broken(data, number)
            length = f"Content-Length: {len(data)}\r\n" if self.sized else ""
            head = f"--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n".encode()
            handler.wfile.write(head + data[: len(data) // 2])
            handler.wfile.flush()
            while self.stalled.is_set() and on.is_set():
                time.sleep(0.01)
            handler.wfile.write(data[len(data) // 2 :] + b"\r\n")
            self.sent += 1
            time.sleep(self.pause)


def broken(data: bytes, number: int) -> bytes:
    """A JPEG cut off, or overwritten within with something that no scan can hold."""
    if number % 2:
        return data[: len(data) // 3]
    middle = len(data) // 2
    garbage = os.urandom(60) + b"\xff\x11" + os.urandom(60)
    return data[:middle] + garbage + data[middle + len(garbage) :]
