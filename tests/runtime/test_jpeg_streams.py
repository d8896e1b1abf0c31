"""Motion JPEG as real cameras send it: what browsers show is judged, what is cut off or damaged is not."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from camera_server import camera, stream
from conftest import good_part

from patchcore_edge_runtime.errors import FrameError, SourceError
from patchcore_edge_runtime.sources import LiveSettings
from patchcore_edge_runtime.sources.captures import jpeg_is_whole, open_http

IMAGE = good_part(size=160)


def encoded(*flags: int) -> bytes:
    return cv2.imencode(".jpg", IMAGE, list(flags))[1].tobytes()


PLAIN = encoded()
THUMBNAIL = cv2.imencode(".jpg", good_part(size=40))[1].tobytes()
END = b"\xff\xd9"


def app(kind: int, data: bytes) -> bytes:
    return bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2, "big") + data


WHOLE = {
    "plain": PLAIN,
    "progressive": encoded(cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart markers": encoded(cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "two end markers": PLAIN + END,
    "three end markers": PLAIN + 2 * END,
    "zeros behind": PLAIN + bytes(4000),
    "fill bytes behind": PLAIN + b"\xff" * 30,
    "a block of one byte behind": PLAIN + b"\xa5" * 16,
    "text behind": PLAIN + b"2024-01-01 10:00:00",
    "text and an end marker behind": PLAIN + b"camera 3" + END,
    "a maker's data behind": PLAIN + bytes(range(1, 200)),
    "a thumbnail behind": PLAIN + THUMBNAIL,
    "fill and a thumbnail behind": PLAIN + bytes(7) + THUMBNAIL + b"\xff\xff",
    "fill bytes between segments": PLAIN[:2] + b"\xff\xff\xff" + PLAIN[2:],
    "fill bytes before the end": PLAIN[:-2] + b"\xff\xff\xff" + END,
    "zeros between segments": PLAIN[:20] + bytes(3) + PLAIN[20:],
    "a comment": PLAIN[:2] + app(0xFE, b"camera") + PLAIN[2:],
    "EXIF with a thumbnail": PLAIN[:2] + app(0xE1, b"Exif\0\0" + THUMBNAIL) + PLAIN[2:],
    "an empty segment": PLAIN[:2] + app(0xE5, b"") + PLAIN[2:],
    "a new line before": b"\r\n" + PLAIN,
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_picture_is_whole_whatever_a_camera_puts_around_it(name: str) -> None:
    assert jpeg_is_whole(WHOLE[name])


@pytest.mark.parametrize("name", WHOLE)
def test_cut_off_anywhere_it_is_not_whole(name: str) -> None:
    data = WHOLE[name]
    # The first end marker that ends the outer picture; all before it lacks something.
    end = data.find(END, len(PLAIN) // 2 + (len(THUMBNAIL) if "EXIF" in name else 0))
    assert end > 0
    assert not any(jpeg_is_whole(data[:length]) for length in range(0, end + 1, 7))


def test_an_end_marker_within_a_damaged_scan_is_no_end() -> None:
    random_ = random.Random(0)
    first = len(PLAIN) // 2
    for _ in range(200):
        at = random_.randrange(first, len(PLAIN) - 60)
        assert not jpeg_is_whole(PLAIN[:at] + END + PLAIN[at + 2 :])
        noise = random_.randbytes(20)
        assert not jpeg_is_whole(PLAIN[:at] + noise + END + noise + PLAIN[at + 42 :])


def test_no_garbage_raises() -> None:
    random_ = random.Random(1)
    for _ in range(300):
        at = random_.randrange(len(PLAIN))
        jpeg_is_whole(PLAIN[:at] + random_.randbytes(random_.randrange(200)))


HEAD = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
MIXED = "multipart/x-mixed-replace; boundary="


def sized(data: bytes, error: int = 0) -> bytes:
    return HEAD % (len(data) + error) + data


UNSIZED = b"Content-Type: image/jpeg\r\n\r\n"
STYLES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "usual": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data) + b"\r\n"),
    "named with dashes": (MIXED + "--frame", lambda data: b"--frame\r\n" + sized(data) + b"\r\n"),
    "sent without dashes": (MIXED + "BoundaryString", lambda data: b"BoundaryString\r\n" + sized(data) + b"\r\n"),
    "sent without dashes, no length": (MIXED + "frame", lambda data: b"frame\r\n" + UNSIZED + data + b"\r\n"),
    "sent with four dashes": (MIXED + "--frame", lambda data: b"----frame\r\n" + sized(data) + b"\r\n"),
    "four dashes, no length": (MIXED + "frame", lambda data: b"----frame\r\n" + UNSIZED + data + b"\r\n"),
    "quoted": (MIXED + '"my frame"', lambda data: b"--my frame\r\n" + sized(data) + b"\r\n"),
    "another one than announced": (MIXED + "frame", lambda data: b"--other\r\n" + UNSIZED + data + b"\r\n"),
    "none announced": ("multipart/x-mixed-replace", lambda data: b"--frame\r\n" + UNSIZED + data + b"\r\n"),
    "line feeds": (
        MIXED + "frame",
        lambda data: b"--frame\nContent-Type: image/jpeg\nContent-Length: %d\n\n" % len(data) + data + b"\n",
    ),
    "line feeds, no length": (MIXED + "frame", lambda data: b"--frame\nContent-Type: image/jpeg\n\n" + data + b"\n"),
    "no length": (MIXED + "frame", lambda data: b"--frame\r\n" + UNSIZED + data + b"\r\n"),
    "no length, no new line": (MIXED + "frame", lambda data: b"--frame\r\n" + UNSIZED + data),
    "no length, no new line, no dashes": (MIXED + "frame", lambda data: b"frame\r\n" + UNSIZED + data),
    "no headers": (MIXED + "frame", lambda data: b"--frame\r\n\r\n" + data + b"\r\n"),
    "no headers, no blank line": (MIXED + "frame", lambda data: b"--frame\r\n" + data + b"\r\n"),
    "only a length": (MIXED + "frame", lambda data: b"--frame\r\nContent-Length: %d\r\n\r\n" % len(data) + data),
    "length one too small": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data, -1) + b"\r\n"),
    "length half": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data, -len(data) // 2) + b"\r\n"),
    "length two too large": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data, 2) + b"\r\n"),
    "length a hundred too large": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data, 100) + b"\r\n"),
    "length zero": (MIXED + "frame", lambda data: b"--frame\r\n" + sized(data, -len(data)) + b"\r\n"),
    "length no number": (
        MIXED + "frame",
        lambda data: b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: -1\r\n\r\n" + data + b"\r\n",
    ),
    "capitals": (
        MIXED.replace(" ", "") + "frame",
        lambda data: b"--frame\r\nCONTENT-TYPE: image/jpg\r\nCONTENT-LENGTH:%d\r\n\r\n" % len(data) + data + b"\r\n",
    ),
    "further headers": (
        MIXED + "frame",
        lambda data: b"--frame\r\nX-Timestamp: 1.5\r\nContent-Type: image/jpeg\r\nServer: x\r\n\r\n" + data + b"\r\n",
    ),
    "text between": (
        MIXED + "frame",
        lambda data: (
            b"--frame\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello\r\n"
            b"--frame\r\n" + sized(data) + b"\r\n"
        ),
    ),
    "text between, no length": (
        MIXED + "frame",
        lambda data: b"--frame\r\nContent-Type: text/plain\r\n\r\nhello\r\n--frame\r\n" + sized(data) + b"\r\n",
    ),
    "an empty part between": (MIXED + "frame", lambda data: b"--frame\r\n\r\n--frame\r\n" + sized(data) + b"\r\n"),
    "multipart/mixed": ("multipart/mixed; boundary=frame", lambda data: b"--frame\r\n" + sized(data) + b"\r\n"),
    "a final boundary each time": (MIXED + "f", lambda data: b"--f\r\n" + sized(data) + b"\r\n--f--\r\n"),
    "parts that are called something else": (
        "application/octet-stream",
        lambda data: b"--frame\r\n" + sized(data) + b"\r\n",
    ),
    "no parts at all": ("video/x-jpeg", lambda data: data),
}


def read_all(kind: str, *pieces: bytes) -> list[bool]:
    """For each frame until the end of the stream, whether it is a picture of the right size."""
    got: list[bool] = []
    with camera(stream(kind, *pieces)) as url:
        capture = open_http(url, LiveSettings(open_timeout=5, read_timeout=5))
        while len(got) < 50:
            try:
                got.append(capture.read().shape == IMAGE.shape)
            except FrameError:
                got.append(False)
            except SourceError:
                break
        capture.close()
    return got


@pytest.mark.parametrize("style", STYLES)
def test_every_picture_of_a_stream_is_read_however_it_is_parted(style: str) -> None:
    kind, part = STYLES[style]
    assert read_all(kind, *[part(PLAIN)] * 4) == [True] * 4


@pytest.mark.parametrize("style", STYLES)
def test_cut_off_pictures_are_errors_and_the_next_one_is_whole(style: str) -> None:
    kind, part = STYLES[style]
    cut = PLAIN[: len(PLAIN) * 2 // 3]
    got = read_all(kind, part(PLAIN), part(cut), part(PLAIN), part(PLAIN))
    # Where nothing but the picture itself says where it ends, a cut one takes the next one along.
    assert got in ([True, False, True, True], [True, False, True])
    assert len(got) == 4 or style in ("no parts at all", "length half", "length one too small")


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize(
    "style", ["usual", "no length", "no length, no new line", "length one too small", "line feeds"]
)
def test_whole_pictures_are_read_in_every_kind_of_part(name: str, style: str) -> None:
    kind, part = STYLES[style]
    assert read_all(kind, *[part(WHOLE[name])] * 3) == [True] * 3


def test_a_preamble_and_an_epilogue_are_left_out() -> None:
    part = b"--frame\r\n" + sized(PLAIN) + b"\r\n"
    got = read_all(MIXED + "frame", b"This is a stream.\r\nSay: no\r\n\r\n", part, part, b"--frame--\r\nthe end\r\n")
    assert got == [True, True]


def test_bytes_that_come_in_dribbles_make_the_same_pictures() -> None:
    part = b"--frame\r\n" + UNSIZED + PLAIN + b"\r\n"
    data = part * 3
    assert read_all(MIXED + "frame", *[data[at : at + 97] for at in range(0, len(data), 97)]) == [True] * 3


def test_what_is_no_stream_of_pictures_is_given_up() -> None:
    for body in (os.urandom(300_000).replace(b"\xff", b"\x01"), b"--frame\r\n\r\n" * 400, b"X: y\r\n" * 20_000):
        with camera(stream(MIXED + "frame", body)) as url:
            capture = open_http(url, LiveSettings(open_timeout=5, read_timeout=5))
            with pytest.raises((SourceError, FrameError)):
                capture.read()
            capture.close()


def test_colours_come_as_they_were_sent() -> None:
    part = b"--frame\r\n" + sized(PLAIN) + b"\r\n"
    with camera(stream(MIXED + "frame", part)) as url:
        capture = open_http(url, LiveSettings(open_timeout=5, read_timeout=5))
        assert np.array_equal(capture.read(), cv2.imdecode(np.frombuffer(PLAIN, np.uint8), cv2.IMREAD_COLOR))
        capture.close()
