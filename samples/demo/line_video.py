"""A camera above a belt, triggered once per part: a video to inspect, with the truth beside it.

Every frame is one shot of a light barrier's trigger. The belt has moved on by one pitch since the last, so the part
before leaves at the left while the next one comes in from the right. Each part lies a little off, as parts do.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import cv2
import numpy as np

from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import as_bgr8

WIDTH, HEIGHT, FPS = 640, 480, 4
CELL = 300
PITCH = 340
STATION = (170, 110)
ROI = (*STATION, CELL, CELL)
PARTS, DEFECTIVE_PARTS = 120, 40
_JITTER = 2


def choose_parts(data: Path, seed: int = 0) -> list[Path]:
    """Test cells in the order in which they pass, good and defective mixed."""
    rng = random.Random(seed)
    good = sorted((data / "test" / "good").iterdir())
    defective = sorted((data / "test" / "defective").iterdir())
    parts = rng.sample(good, PARTS - DEFECTIVE_PARTS) + rng.sample(defective, DEFECTIVE_PARTS)
    rng.shuffle(parts)
    return parts


def render(parts: list[Path], video: Path, truth: Path, seed: int = 0) -> None:
    """Write the video, and per frame a line of JSON: the part's file and whether it is defective."""
    rng = np.random.default_rng(seed)
    cells = [cv2.cvtColor(as_bgr8(read_image(part)), cv2.COLOR_BGR2GRAY) for part in parts]
    offsets = rng.integers(-_JITTER, _JITTER + 1, (len(parts), 2))
    # Motion JPEG keeps what the model looks at; the small bitrate of the default encoder does not.
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (WIDTH, HEIGHT))
    with truth.open("w", encoding="utf-8") as file:
        for index, part in enumerate(parts):
            frame = _belt(index)
            for neighbor in (index - 1, index, index + 1):
                if 0 <= neighbor < len(parts):
                    _lay(frame, cells[neighbor], (neighbor - index) * PITCH, offsets[neighbor])
            shot = np.clip(frame + rng.normal(0, 1.0, frame.shape), 0, 255).astype(np.uint8)
            writer.write(cv2.cvtColor(shot, cv2.COLOR_GRAY2BGR))
            record = {"frame": index, "part": part.name, "defective": part.parent.name == "defective"}
            file.write(json.dumps(record) + "\n")
    writer.release()


def _belt(index: int) -> np.ndarray:
    """A dark belt with cross ribs that move with it, between two guide rails."""
    columns = np.arange(WIDTH) + index * PITCH
    ribs = np.where(columns % 40 < 3, 34, 22)
    frame = np.repeat(ribs[None].astype(np.float64), HEIGHT, axis=0)
    frame[:70], frame[-40:] = 48, 48
    frame[66:70], frame[-40:-36] = 90, 90
    return frame


def _lay(frame: np.ndarray, cell: np.ndarray, shift: int, offset: np.ndarray) -> None:
    left, top = STATION[0] + shift + int(offset[0]), STATION[1] + int(offset[1])
    start, end = max(left, 0), min(left + CELL, WIDTH)
    if start < end:
        frame[top : top + CELL, start:end] = cell[:, start - left : end - left]
