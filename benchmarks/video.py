"""What a frame of video costs to write, by codec and size: python -m benchmarks.video

Milliseconds of one core (all threads together) and of the clock, and bytes; the pictures move and have a noise.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from numpy.typing import NDArray

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks.video_writer import choose_writer

SIZES = ((640, 480), (1280, 960))
CODECS = (("avc1", ".mp4"), ("vp09", ".mp4"), ("av01", ".mp4"), ("mp4v", ".mp4"))
FRAMES, FPS = 60, 25.0


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print("| codec | size | CPU ms a frame | ms a frame | KiB a frame |\n" + "|---" * 5 + "|")
    for codec, suffix in CODECS:
        for size in SIZES:
            print(f"| `{codec}` | {size[0]}x{size[1]} | {_row(codec, suffix, size)} |", flush=True)


def _row(codec: str, suffix: str, size: tuple[int, int]) -> str:
    pictures = _pictures(size)
    try:
        make = choose_writer(suffix, codec)
    except ConfigError:
        return "cannot be written here | |"
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        writer = make(path, FPS, size)
        clock, core = time.perf_counter(), time.process_time()
        for picture in pictures:
            writer.write(picture)
        writer.release()
        clock, core = time.perf_counter() - clock, time.process_time() - core
        return f"{core / FRAMES * 1e3:.1f} | {clock / FRAMES * 1e3:.1f} | {path.stat().st_size / FRAMES / 1024:.1f}"


def _pictures(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    width, height = size
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8), size)
    moved = (np.roll(base, 3 * number, 1) + rng.normal(0, 2, base.shape) for number in range(FRAMES))
    return [np.clip(picture, 0, 255).astype(np.uint8) for picture in moved]


if __name__ == "__main__":
    main()
