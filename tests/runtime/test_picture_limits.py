"""Pictures that claim to be huge, refused by their header: before a decoder takes the memory and the time."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import good_part, run_cli
from mjpeg_server import MjpegServer

from patchcore_edge_runtime import MAX_PIXELS, ConfigError, Inspector, PreprocessSpec, SourceError, Verdict, open_source
from patchcore_edge_runtime.bundle.bundle import Bundle, write_manifest
from patchcore_edge_runtime.errors import BundleError, DataError, FrameError
from patchcore_edge_runtime.images import size_limit
from patchcore_edge_runtime.images.claimed_size import claimed_size
from patchcore_edge_runtime.images.files import decode_bgr8, decode_image, read_image
from patchcore_edge_runtime.images.image_format import USUAL, image_format
from patchcore_edge_runtime.images.size_limit import PixelLimit, limit_pixels
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import Line
from patchcore_edge_runtime.system import free_memory, resident_memory

SUFFIXES = (".png", ".jpg", ".webp", ".tif", ".bmp", ".jp2", ".gif", ".pgm", ".ppm", ".pam", ".ras")
SIDE = 16_000


def encoded(suffix: str, height: int = 40, width: int = 72, channels: int = 3, dtype: type = np.uint8) -> bytes:
    shape = (height, width, channels) if channels > 1 else (height, width)
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)
    try:
        done, data = cv2.imencode(suffix, image)
    except cv2.error:
        done = False
    if not done:
        pytest.skip(f"this OpenCV writes no {suffix} of {channels} channels")
    return data.tobytes()


def png(height: int, width: int) -> bytes:
    """A grey picture of one colour: a few hundred kilobytes at most, however large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


BIG = {
    ".png": lambda data: (data.index(b"IHDR") + 4, struct.pack(">II", SIDE, SIDE)),
    ".jpg": lambda data: (data.index(b"\xff\xc0") + 5, struct.pack(">HH", SIDE, SIDE)),
    ".webp": lambda data: (data.index(b"VP8L") + 9, struct.pack("<I", (SIDE - 1) << 14 | (SIDE - 1))),
    ".bmp": lambda _: (18, struct.pack("<ii", SIDE, -SIDE)),
    ".jp2": lambda data: (data.index(b"\xff\x4f\xff\x51") + 8, struct.pack(">II", SIDE, SIDE)),
    ".gif": lambda _: (6, struct.pack("<HH", SIDE, SIDE)),
    ".ras": lambda _: (4, struct.pack(">II", SIDE, SIDE)),
}
"""Where the size stands in a file, and what a larger one looks like there."""


def enlarged(suffix: str) -> bytes:
    """A small file whose header claims 16,000 x 16,000 pixels."""
    data = bytearray(encoded(suffix, 40, 72, 1 if suffix == ".pgm" else 3))
    if suffix in BIG:
        at, claim = BIG[suffix](data)
        data[at : at + len(claim)] = claim
    elif suffix == ".tif":
        order = "<" if data[:2] == b"II" else ">"
        start = struct.unpack_from(f"{order}I", data, 4)[0]
        for number in range(struct.unpack_from(f"{order}H", data, start)[0]):
            entry = start + 2 + 12 * number
            if struct.unpack_from(f"{order}H", data, entry)[0] in (256, 257):
                struct.pack_into(f"{order}HIHH", data, entry + 2, 3, 1, SIDE, 0)
    else:
        text = re.sub(rb"(WIDTH|HEIGHT) \d+", rb"\1 16000", bytes(data))
        return text.replace(b"72 40", b"# of a camera\n16000 16000", 1)
    return bytes(data)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_size_that_a_header_claims_is_that_of_the_picture(suffix: str, channels: int) -> None:
    data = encoded(suffix, channels=channels)
    claim = claimed_size(data)
    assert claim is not None
    assert (claim.height, claim.width) == (40, 72)
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    assert image is None or claim.memory >= 2 * image.nbytes, "the picture and a decoder's copy of it"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_claim_twice_the_memory(suffix: str) -> None:
    narrow, wide = (claimed_size(encoded(suffix, channels=1, dtype=dtype)) for dtype in (np.uint8, np.uint16))
    assert narrow is not None
    assert wide is not None
    assert wide.memory == 2 * narrow.memory


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_whatever_is_cut_from_a_file_its_header_is_read_or_not_and_never_raises(suffix: str) -> None:
    data = encoded(suffix, channels=1 if suffix == ".pgm" else 3)
    for size in range(min(len(data), 400)):
        claim = claimed_size(data[:size])
        assert claim is None or min(claim) >= 0


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_small_file_that_claims_a_huge_picture_is_refused_by_its_header(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(enlarged(suffix))
    before = resident_memory()
    with limit_pixels(PixelLimit(500 * 500)):
        with pytest.raises(DataError, match="16000x16000 pixels, and this line expects"):
            read_image(path)
        data = np.fromfile(path, np.uint8)
        if image_format(data) in USUAL:
            with pytest.raises(FrameError, match="max_megapixels"):
                decode_bgr8(data)
        else:
            assert decode_bgr8(data) is None, "no decoder that nobody asked for sees it"
    assert resident_memory() - before < 100 << 20


@pytest.mark.parametrize("suffix", [".png", ".jp2"])
def test_without_a_line_it_is_the_memory_that_decides(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_limit, "free_memory", lambda: 1 << 30)
    with pytest.raises(DataError, match=r"to decode its 16000x16000 pixels, more than half of the 1\.0 GiB"):
        decode_image(enlarged(suffix), f"bomb{suffix}")
    small = encoded(suffix)
    assert decode_image(small, f"small{suffix}").shape[:2] == (40, 72)


def test_no_picture_has_more_pixels_than_any_camera(tmp_path: Path) -> None:
    data = bytearray(png(8, 8))
    data[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(DataError, match="more than any camera"):
        decode_image(bytes(data), "bomb")
    assert MAX_PIXELS < 60_000**2


def test_a_file_that_is_larger_than_the_memory_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_limit, "free_memory", lambda: 1 << 30)
    path = tmp_path / "x.bmp"
    with path.open("wb") as file:
        file.truncate(1 << 33)  # holes take no room
    with pytest.raises(DataError, match="of memory to read it"):
        read_image(path)


def test_a_jpeg_of_thousands_of_scans_is_refused() -> None:
    done, data = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    whole = data.tobytes()
    assert decode_image(whole, "x").shape == (64, 64)
    last = whole.rindex(b"\xff\xda")
    with pytest.raises(DataError, match="more scans"):
        decode_image(whole[:last] + whole[last:-2] * 200 + b"\xff\xd9", "bomb")


def test_the_tile_of_a_tiff_counts_as_memory() -> None:
    entries = [(256, 64), (257, 64), (258, 8), (277, 1), (322, 1 << 20), (323, 1 << 13)]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    claim = claimed_size(b"II*\0" + struct.pack("<IH", 8, len(entries)) + body)
    assert claim is not None
    assert claim.memory > 1 << 33


def test_a_line_refuses_what_is_larger_than_its_bundle_lets_pass(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(size_limit, "MIN_LIMIT", 1)
    limits = Bundle.load(tiny_bundle).manifest.sanity
    assert limits is not None
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.png").write_bytes(encoded(".png", 4 * limits.max_height, 4 * limits.max_width))
    cv2.imwrite(str(folder / "1.png"), good_part())
    found: list[tuple[Verdict, str]] = []

    class Keep:
        def write(self, record: object) -> None:
            found.append((record.result.verdict, record.result.reason))  # type: ignore[attr-defined]

        def close(self) -> None:
            pass

    def run(**source: object) -> None:
        found.clear()
        config = LineConfig(bundle=tiny_bundle, source={"uri": str(folder), **source})
        with Line.open(config, sinks={"keep": Keep()}) as line:
            line.run()

    run()
    assert "this line expects" in found[0][1]
    assert [verdict for verdict, _ in found] == [Verdict.ERROR, Verdict.OK]
    run(max_megapixels=100)
    assert found[0][0] is Verdict.ERROR
    assert "Unlike the training images in size" in found[0][1], "decoded, and refused by the frame check"
    with pytest.raises(ValueError, match="max_megapixels"):
        LineConfig(bundle=tiny_bundle, source={"uri": "0", "max_megapixels": float("inf")})


def test_a_camera_whose_frames_claim_to_be_huge_gives_errors_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = MjpegServer(lambda _: good_part(), pause=0.01)
    bomb = enlarged(".jpg")
    real = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *words: (True, np.frombuffer(bomb, np.uint8)))
    try:
        with limit_pixels(PixelLimit(1)):
            source = open_source(camera.url)
            frames = iter(source)
            frame = next(frames)
            assert frame.image is None
            assert "16000x16000" in frame.error
            monkeypatch.setattr(cv2, "imencode", real)
            assert any(next(frames).image is not None for _ in range(200))
            source.close()
    finally:
        camera.stop()


def test_a_video_larger_than_the_line_expects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_limit, "MIN_LIMIT", 1)
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (320, 240))
    for _ in range(3):
        writer.write(np.zeros((240, 320, 3), np.uint8))
    writer.release()
    with limit_pixels(PixelLimit(100 * 100)), pytest.raises(SourceError, match="320x240"):
        open_source(str(path))
    source = open_source(str(path))
    assert sum(1 for _ in source) == 3
    source.close()


def test_a_frame_is_never_resized_to_more_than_a_model_could_take(tiny_bundle: Path, tmp_path: Path) -> None:
    for words in ({}, {"crop_height": 64, "crop_width": 64}):
        with pytest.raises(ValueError, match="60000x60000"):
            PreprocessSpec(height=60_000, width=60_000, **words)
    bundle = Bundle.load(tiny_bundle)
    wide = bundle.manifest.preprocess.model_copy(
        update={"height": 60_000, "width": 60_000, "crop_height": 64, "crop_width": 64}
    )
    copy = tmp_path / "bundle"
    for name in bundle.manifest.files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((tiny_bundle / name).read_bytes())
    write_manifest(copy, bundle.manifest.model_copy(update={"preprocess": wide}))
    with pytest.raises(BundleError, match="60000x60000"):
        Inspector(copy)
    done = run_cli("info", "-m", copy, program="patchcore_edge_runtime")
    assert done.returncode == 4


def test_free_memory_is_a_number_of_bytes_or_unknown() -> None:
    free = free_memory()
    assert free is None or 0 <= free < 1 << 50


def test_two_lines_in_one_process_take_what_either_may(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(".png", 1200, 1200, 1)
    with limit_pixels(PixelLimit(100)), limit_pixels(PixelLimit(2000 * 2000)):
        assert decode_image(data, "x").shape == (1200, 1200)
    with limit_pixels(PixelLimit(100)), pytest.raises(ConfigError):
        decode_image(data, "x")
    with limit_pixels(PixelLimit(100)), limit_pixels(PixelLimit(None)):
        assert decode_image(data, "x").shape == (1200, 1200)
