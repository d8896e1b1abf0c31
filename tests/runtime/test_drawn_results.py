"""A result draws itself and writes the picture; an inspector refuses arguments of a wrong type at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import part

from patchcore_edge_runtime import Inspector, Thresholds, draw_overlay
from patchcore_edge_runtime.display.record import Record
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sources import Frame


def defective() -> np.ndarray:
    return part(np.random.default_rng(3), defect=True)


def test_a_result_draws_what_draw_overlay_draws(tiny_inspector: Inspector) -> None:
    frame = defective()
    result = tiny_inspector(frame)
    assert (result.plot() == draw_overlay(frame, result)).all()
    other = np.zeros_like(frame)
    assert (result.plot(other) == draw_overlay(other, result)).all()


@pytest.mark.parametrize("name", ["result.png", "folder/that/is/new/result.png", "result.jpg"])
def test_a_result_is_written_as_the_picture_that_it_draws(name: str, tiny_inspector: Inspector, tmp_path: Path) -> None:
    result = tiny_inspector(defective())
    written = result.save(tmp_path / name)
    assert written == tmp_path / name
    difference = cv2.absdiff(cv2.imread(str(written)), result.plot())
    assert difference.mean() < (5 if name.endswith("jpg") else 1e-9)


def test_a_format_that_cannot_be_written_is_said(tiny_inspector: Inspector, tmp_path: Path) -> None:
    for name in ("result.xyz", "result"):
        with pytest.raises(ConfigError, match=r"choose \.png or \.jpg"):
            tiny_inspector(defective()).save(tmp_path / name)


@pytest.mark.parametrize("frame", ["no picture", None, np.zeros((0, 0, 3), np.uint8), np.zeros((4, 4), np.float64)])
def test_the_result_of_a_frame_that_is_no_picture_is_a_grey_field_with_the_reason(
    frame: Any, tiny_inspector: Inspector
) -> None:
    result = tiny_inspector(frame)
    picture = result.plot()
    assert result.verdict == "ERROR"
    assert min(picture.shape[:2]) >= 480
    assert (picture == draw_overlay(np.zeros(0, np.uint8), result)).all()


def test_what_waits_in_a_queue_without_its_image_keeps_no_frame(tiny_inspector: Inspector) -> None:
    frame = defective()
    for image in (frame, part(np.random.default_rng(4))):
        record = Record(Frame(0, "x", image, 0.0), tiny_inspector(image))
        assert record.result.frame is image
        assert record.without_image.result.frame is None


def test_drawing_needs_no_import_of_the_users(tiny_bundle: Path, tmp_path: Path) -> None:
    """Also where nothing has loaded what draws."""
    cv2.imwrite(str(tmp_path / "part.png"), defective())
    code = (
        "import sys, cv2; from patchcore_edge_runtime.inspection.inspector import Inspector; "
        f"result = Inspector({str(tiny_bundle)!r})(cv2.imread({str(tmp_path / 'part.png')!r})); "
        f"result.save({str(tmp_path / 'drawn.png')!r}); print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert (tmp_path / "drawn.png").is_file()


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"roi": "1,2,3,4"}, "roi is '1,2,3,4'; give x, y, width, height"),
        ({"roi": (0.5, 0, 10, 10)}, "roi is"),
        ({"roi": (0, 0, 10)}, "roi is"),
        ({"roi": 5}, "roi is"),
        ({"thresholds": 0.5}, "thresholds"),
        ({"thresholds": {"image": 1.0, "pixel": 1.0}}, "thresholds"),
        ({"thresholds": (1.0, 2.0)}, "thresholds"),
    ],
)
def test_a_wrong_type_fails_when_the_inspector_is_made(words: dict[str, Any], what: str, tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        Inspector(tiny_bundle, **words)


def test_limits_of_a_wrong_type_fail_when_they_are_set(tiny_bundle: Path) -> None:
    inspector = Inspector(tiny_bundle)
    with pytest.raises(ConfigError, match="thresholds"):
        inspector.thresholds = 0.5  # type: ignore[assignment]
    inspector.thresholds = Thresholds(image=1.0, pixel=1.0)
    assert inspector.thresholds.image == 1.0
