"""Of the decoders that OpenCV has, those that a line needs are tried on what comes from outside, and no other."""

from __future__ import annotations

import base64
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from line_records import make_frame

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import decode_bgr8, read_image
from patchcore_edge_runtime.images.image_format import USUAL, image_format


def encoded(suffix: str) -> bytes:
    frame = make_frame(64, 48)
    try:
        done, data = cv2.imencode(suffix, frame.astype(np.float32) if suffix in (".hdr", ".exr", ".pfm") else frame)
    except cv2.error:
        done = False
    if not done:
        pytest.skip(f"this OpenCV writes no {suffix}")
    return data.tobytes()


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".png", ".tif", ".webp", ".jp2", ".ppm", ".ras"])
def test_what_a_line_needs_is_decoded(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_bytes(encoded(suffix))
    assert read_image(tmp_path / f"a{suffix}").shape == (48, 64, 3)


@pytest.mark.parametrize("suffix", [".jp2", ".ppm", ".avif"])
def test_of_frames_only_the_usual_kinds_are_decoded(suffix: str) -> None:
    data = np.frombuffer(encoded(suffix), np.uint8)
    with patch("cv2.imdecode", side_effect=AssertionError("a decoder was tried")):
        assert decode_bgr8(data) is None


@pytest.mark.parametrize("suffix", [".jp2", ".ppm", ".hdr", ".exr", ".gif", ".avif", ".ras", ".pfm", ".pam"])
def test_another_kind_is_refused_before_a_decoder_sees_it(suffix: str, tmp_path: Path) -> None:
    """Also under a name that says otherwise: JPEG 2000's decoder wrote beyond its memory (CVE-2025-53644)."""
    (tmp_path / "a.jpg").write_bytes(encoded(suffix))
    with patch("cv2.imdecode", side_effect=AssertionError("a decoder was tried")), pytest.raises(DataError):
        read_image(tmp_path / "a.jpg")


AVIF = base64.b64decode(
    "AAAAIGZ0eXBhdmlmAAAAAGF2aWZtaWYxbWlhZk1BMUIAAADrbWV0YQAAAAAAAAAhaGRscgAAAAAAAAAAcGljdAAAAAAAAAAAAAAA"
    "AAAAAAAOcGl0bQAAAAAAAQAAAB5pbG9jAAAAAEQAAAEAAQAAAAEAAAETAAAAHwAAAChpaW5mAAAAAAABAAAAGmluZmUCAAAAAAEA"
    "AGF2MDFDb2xvcgAAAABqaXBycAAAAEtpcGNvAAAAFGlzcGUAAAAAAAAACAAAAAgAAAAQcGl4aQAAAAADCAgIAAAADGF2MUOBAAwA"
    "AAAAE2NvbHJuY2x4AAEADQAGgAAAABdpcG1hAAAAAAAAAAEAAQQBAoMEAAAAJ21kYXQSAAoIGAi/aICGg0IyER7Hh4VZ3///4s/A"
    "AJA1jjw0"
)


@pytest.mark.parametrize("name", ["a.avif", "a.jpg"])
def test_a_kind_whose_decoder_takes_more_than_the_header_says_is_never_decoded(name: str, tmp_path: Path) -> None:
    """AVIF states its size twice; 836 MB were taken for a file whose header said 8 x 8 pixels."""
    (tmp_path / name).write_bytes(AVIF)
    with patch("cv2.imdecode", side_effect=AssertionError("a decoder was tried")):
        with pytest.raises(DataError, match="not an image that can be decoded"):
            read_image(tmp_path / name)
        assert decode_bgr8(np.frombuffer(AVIF, np.uint8)) is None


@pytest.mark.parametrize("data", [b"", b"\xff", b"RIFF1234WAVE", b"\x89PNG", b"\0" * 100])
def test_bytes_of_no_kind(data: bytes) -> None:
    assert image_format(data) is None
    assert image_format(np.frombuffer(data, np.uint8)) is None


def test_a_kind_is_told_by_its_first_bytes() -> None:
    suffixes = {".bmp": "BMP", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".webp": "WebP"}
    assert {suffix: image_format(encoded(suffix)) for suffix in suffixes} == suffixes
    assert set(suffixes.values()) == USUAL
