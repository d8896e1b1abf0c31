"""Pictures made to cost more than their size tells: what a decoder reads in a file is read before it, and bounded."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import cv2
import numpy as np
import pytest

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images import compressed_pixels, size_limit
from patchcore_edge_runtime.images.claimed_size import claimed_size
from patchcore_edge_runtime.images.files import decode_bgr8, decode_image
from patchcore_edge_runtime.images.size_limit import PixelLimit, limit_pixels

SIDE = 16_000
DEFLATE = 8
SHORT, LONG = 3, 4


def tiff(tags: list[tuple[int, int, int, int | bytes]], pixels: bytes) -> bytes:
    """A TIFF: tag, type, count and value of each entry; ``pixels`` begin at byte 8."""
    start = 8 + len(pixels)
    apart = start + 2 + 12 * len(tags) + 4
    entries, blobs = b"", b""
    for tag, kind, count, value in tags:
        place = apart + len(blobs) if isinstance(value, bytes) else value
        entries += struct.pack("<HHII", tag, kind, count, place)
        blobs += value if isinstance(value, bytes) else b""
    return b"II*\0" + struct.pack("<I", start) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4) + blobs


def grey_tiff(side: int, pixels: bytes, *, number: int = LONG, before: int = 0, pieces: int = 1) -> bytes:
    """A grey picture of ``side`` x ``side``, deflated.

    Args:
        number: type of the sides.
        before: entries that nobody knows, before those that matter.
        pieces: how often its one strip is named.
    """

    def named(value: int) -> int | bytes:
        return value if pieces == 1 else struct.pack("<I", value) * pieces

    tags: list[tuple[int, int, int, int | bytes]] = [(1, SHORT, 1, 0)] * before
    tags += [(256, number, 1, side), (257, number, 1, side), (258, SHORT, 1, 8), (259, SHORT, 1, DEFLATE)]
    tags += [(262, SHORT, 1, 1), (273, LONG, pieces, named(8)), (277, SHORT, 1, 1), (278, LONG, 1, side)]
    return tiff([*tags, (279, LONG, pieces, named(len(pixels)))], pixels)


def deflated(mebibytes: int) -> bytes:
    """So many mebibytes of zeros, packed in a moment: one block, repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush(zlib.Z_FINISH)
    return b"\x78\xda" + block * mebibytes + end + struct.pack(">I", ((mebibytes << 20) % 65521) << 16 | 1)


@pytest.mark.parametrize("number", [1, SHORT, LONG, 6, 8, 9])
def test_the_size_of_a_tiff_is_read_in_every_type_that_libtiff_takes(number: int) -> None:
    claim = claimed_size(grey_tiff(100, zlib.compress(bytes(100 * 100)), number=number))
    assert claim is not None
    assert (claim.height, claim.width) == (100, 100)


@pytest.mark.parametrize("words", [{"number": 9}, {"before": 600}, {"before": 4000}])
def test_a_tiff_that_hides_its_size_from_a_simple_reader_is_refused_by_it(words: dict[str, int]) -> None:
    data = grey_tiff(SIDE, b"", **words)
    with limit_pixels(PixelLimit(500 * 500)), pytest.raises(DataError, match="16000x16000 pixels, and this line"):
        decode_image(data, "bomb.tif")


def test_a_jpeg_whose_frame_lies_behind_fill_bytes_is_refused_by_it() -> None:
    done, encoded = cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))
    assert done
    data = encoded.tobytes()
    frame = data.index(b"\xff\xc0")
    small, header = data[frame : frame + 13], bytearray(data[2 : frame + 13])
    header[frame - 2 + 5 : frame - 2 + 9] = struct.pack(">HH", SIDE, SIDE)
    # libjpeg passes over the stuffed byte; who takes it for a segment passes over the frame.
    hidden = b"\xff\xd8\xff\x00" + struct.pack(">H", len(header) + 2) + bytes(header) + small + data[frame + 13 :]
    with limit_pixels(PixelLimit(500 * 500)), pytest.raises(DataError, match="16000x16000 pixels"):
        decode_image(hidden, "bomb.jpg")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.pgm", b"P5\n#" + b"x" * 5000 + b"\n16000 16000 255\n" + bytes(100)),
        ("a.pgm", b"P5\n0000000000016000 0000000000016000 255\n" + bytes(100)),
        ("a.webp", b"RIFF\x40\0\0\0WEBPJUNK\x04\0\0\0abcdVP8L" + bytes(48)),
        ("a.tif", tiff([(258, SHORT, 1, 8)], b"")),
    ],
    ids=["long comment", "many digits", "unknown piece", "no size"],
)
def test_a_picture_whose_size_cannot_be_told_never_reaches_a_decoder(
    name: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("a decoder was asked"))
    with pytest.raises(DataError, match="not an image that can be decoded"):
        decode_image(data, name)
    assert decode_bgr8(np.frombuffer(data, np.uint8)) is None


def test_of_a_tiffs_strip_no_more_is_unpacked_than_the_picture_has_use_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte that unpacks to a gigabyte, named a thousand times, of which a decoder takes the first 4,096 bytes."""
    unpacked, make = 0, zlib.decompressobj

    class Counted:
        def __init__(self) -> None:
            self._stream = make()

        def decompress(self, data: bytes, most: int) -> bytes:
            nonlocal unpacked
            out = self._stream.decompress(data, most)
            unpacked += len(out)
            return out

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    monkeypatch.setattr(compressed_pixels.zlib, "decompressobj", Counted)
    with pytest.raises(DataError, match="more than its picture"):
        decode_image(grey_tiff(64, deflated(1000), pieces=1000), "a.tif")
    assert 64 * 64 <= unpacked <= 4 << 20
    exact = zlib.compress(np.random.default_rng(0).bytes(64 * 64))
    assert decode_image(grey_tiff(64, exact, pieces=1000), "a.tif").shape == (64, 64)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("start", [b"zTXta\0\0", b"iTXta\0\x01\0\0\0", b"iCCPa\0\0"])
def test_no_text_of_a_png_is_unpacked_beside_its_picture(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven megabytes of them would become seven gigabytes; what a photo brings is left where it is."""
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    plain = cv2.imencode(".png", image)[1].tobytes()
    text = chunk(start[:4], start[4:] + deflated(7))
    decode, seen = cv2.imdecode, []

    def decoder(data: np.ndarray, flags: int) -> object:
        seen.append(len(data))
        return decode(data, flags)

    monkeypatch.setattr(cv2, "imdecode", decoder)
    for count in (1, 1000):
        for place in (33, len(plain) - 12):
            data = plain[:place] + count * text + plain[place:]
            assert (decode_image(data, "a.png") == image).all()
            assert seen[-1] <= (len(plain) if count > 1 else len(data))


def test_a_png_with_far_more_pixels_than_it_says_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)

    def png(body: bytes, *, pieces: int = 1) -> bytes:
        step = -(-len(body) // pieces)
        data = b"".join(chunk(b"IDAT", body[at : at + step]) for at in range(0, len(body), step))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + data + chunk(b"IEND", b"")

    for pieces in (1, 7):
        assert decode_image(png(zlib.compress(bytes(64 * 65)), pieces=pieces), "a.png").shape == (64, 64)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("a decoder was asked"))
    for pieces in (1, 50):
        with pytest.raises(DataError, match="far more than its picture"):
            decode_image(png(deflated(4000), pieces=pieces), "a.png")


@pytest.mark.parametrize(("free", "at_a_time"), [(100 << 20, 1), (1 << 40, 3)])
def test_large_pictures_are_decoded_side_by_side_where_there_is_room_and_one_by_one_where_not(
    free: int, at_a_time: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes 36 MB and is small enough alone; refused is none of them, whoever comes first."""
    data = cv2.imencode(".png", np.zeros((2000, 2000, 3), np.uint8))[1].tobytes()
    decode, together, now = cv2.imdecode, Barrier(at_a_time), []

    def counted(*words: object) -> object:
        now.append(1)
        try:
            together.wait(20)
            assert len(now) <= at_a_time
            return decode(*words)
        finally:
            now.pop()

    monkeypatch.setattr(cv2, "imdecode", counted)
    monkeypatch.setattr(size_limit, "free_memory", lambda: free)
    with ThreadPoolExecutor(3) as threads:
        shapes = [image.shape for image in threads.map(lambda _: decode_image(data, "a.png"), range(6))]
    assert shapes == [(2000, 2000, 3)] * 6
