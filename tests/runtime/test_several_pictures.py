"""Files of several pictures that hide it, or only look so: what is judged is all that there is, or ERROR."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import decode_image
from patchcore_edge_runtime.images.pages import picture_count

SIZE = struct.pack(">II", 80, 80)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def content(data: bytes, kind: bytes) -> bytes:
    """Of all chunks of a kind, one behind the other."""
    at, found = 8, b""
    while at < len(data):
        length = struct.unpack_from(">I", data, at)[0]
        found += data[at + 8 : at + 8 + length] if data[at + 4 : at + 8] == kind else b""
        at += 12 + length
    return found


def encoded(suffix: str, image: np.ndarray) -> bytes:
    return cv2.imencode(suffix, image)[1].tobytes()


def apng(*, said: int, first_is_frame: bool) -> bytes:
    """A good part for viewers without animation, and a bad one as the frame behind it."""
    good, bad = (encoded(".png", part) for part in (good_part(), bad_part()))
    frame = SIZE + struct.pack(">IIHHBB", 0, 0, 1, 10, 0, 0)
    numbers = iter(range(3))

    def control() -> bytes:
        return chunk(b"fcTL", struct.pack(">I", next(numbers)) + frame)

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", content(good, b"IHDR")) + chunk(b"acTL", struct.pack(">II", said, 0))
    head += (control() if first_is_frame else b"") + chunk(b"IDAT", content(good, b"IDAT")) + control()
    return head + chunk(b"fdAT", struct.pack(">I", next(numbers)) + content(bad, b"IDAT")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("said", "first_is_frame"), [(1, False), (1, True), (2, True)])
def test_an_animated_png_has_as_many_pictures_as_it_holds_whatever_it_says(said: int, first_is_frame: bool) -> None:
    data = apng(said=said, first_is_frame=first_is_frame)
    assert picture_count(data) == 2
    with pytest.raises(DataError, match="holds 2 pictures"):
        decode_image(data, "a.png")


def test_a_png_whose_one_frame_is_its_picture_is_read() -> None:
    data = apng(said=1, first_is_frame=True)
    single = data[: data.index(b"fcTL", data.index(b"IDAT")) - 4] + chunk(b"IEND", b"")
    assert decode_image(single, "a.png").shape[:2] == (80, 80)


def with_list(first: bytes, others: list[tuple[int, bytes]], order: str) -> bytes:
    """A JPEG with a list of the pictures behind it, as stereo cameras and phones write it (CIPA DC-007)."""
    count = 1 + len(others)
    segment = 2 + 2 + 4 + 82 + 16 * count
    base, place = 2 + 4 + 4, len(first) + segment
    entries = struct.pack(f"{order}IIIHH", 0x030000, place, 0, 0, 0)
    for kind, data in others:
        entries += struct.pack(f"{order}IIIHH", kind, len(data), place - base, 0, 0)
        place += len(data)
    tags = struct.pack(f"{order}HHII", 0xB000, 7, 4, 0x30303130)
    tags += struct.pack(f"{order}HHII", 0xB001, 4, 1, count) + struct.pack(f"{order}HHII", 0xB002, 7, 16 * count, 82)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 40)
    body = (start + bytes(32) + struct.pack(f"{order}H", 3) + tags + bytes(4)).ljust(82, b"\0") + entries
    head = b"\xff\xe2" + struct.pack(">H", 2 + 4 + len(body)) + b"MPF\0" + body
    assert len(head) == segment
    return first[:2] + head + first[2:] + b"".join(data for _, data in others)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", ["a.mpo", "a.jpg"])
@pytest.mark.parametrize("kind", [0x020001, 0x020002, 0x020003, 0])
def test_the_views_of_a_stereo_camera_are_not_judged_by_the_first(kind: int, name: str, order: str) -> None:
    data = with_list(encoded(".jpg", good_part()), [(kind, encoded(".jpg", bad_part()))], order)
    with pytest.raises(DataError, match="holds 2 pictures"):
        decode_image(data, name)


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_phones_put_behind_a_photo_is_no_picture_of_its_own(order: str) -> None:
    photo, small = encoded(".jpg", good_part()), encoded(".jpg", good_part(size=40))
    of_brightness = encoded(".jpg", good_part(1))
    comment = b"http://ns.adobe.com/xap/1.0/\0<x hdrgm:Version='1.0'/>"
    of_brightness = of_brightness[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(comment)) + comment + of_brightness[2:]
    for behind in ([], [(0x010001, photo)], [(0, small)], [(0, of_brightness)]):
        assert decode_image(with_list(photo, behind, order), "a.jpg").shape[:2] == (80, 80)


def test_whatever_a_list_of_pictures_says_counting_ends() -> None:
    data = with_list(encoded(".jpg", good_part()), [(0, encoded(".jpg", bad_part()))] * 3, "<")
    start, rng = data.index(b"MPF\0"), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        for place in rng.integers(start, start + 170, 6):
            damaged[place] = rng.integers(0, 256)
        assert 1 <= picture_count(bytes(damaged)) <= 10_000


@pytest.mark.parametrize("suffix", [".pgm", ".ppm", ".pam", ".pbm", ".txt.pgm"])
def test_a_pnm_of_several_pictures_is_refused(suffix: str) -> None:
    def file(image: np.ndarray) -> bytes:
        if suffix == ".txt.pgm":
            return b"P2\n80 80 255\n" + b"\n".join(b"%d" % value for value in image[..., 0].ravel()) + b"\n"
        return encoded(suffix, image if suffix == ".ppm" else image[..., 0].copy())

    one, other = file(good_part()), file(bad_part())
    assert picture_count(one) == 1
    with pytest.raises(DataError, match="holds 2 pictures"):
        decode_image(one + other, f"a{suffix}")
