"""Files that hold less than their picture, or more than one: refused with a reason, in fits and lines alike."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import bad_part, good_part

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images import jpeg_scan
from patchcore_edge_runtime.images.files import decode_image
from patchcore_edge_runtime.images.jpeg import SCAN, JpegWalk, State
from patchcore_edge_runtime.images.pages import picture_count
from patchcore_edge_runtime.sources import open_source

QUALITIES = (40, 75, 90, 98)
KINDS = {
    "plain": [],
    "restarts": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    "own tables": [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    "all chroma": [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "progressive, restarts": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
}


def photo(*, colour: bool, size: int = 240) -> np.ndarray:
    grey = good_part(3, size=size)
    return cv2.applyColorMap(grey[..., 0], cv2.COLORMAP_JET) if colour else grey[..., 0]


def jpeg(image: np.ndarray, flags: list[int], quality: int = 90) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality, *flags])[1].tobytes()


def scan_start(data: bytes) -> int:
    at = 2
    while True:
        kind, at = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if kind == 0xDA:
            return at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", [False, True])
def test_whole_jpegs_of_every_kind_are_read(kind: str, colour: bool) -> None:
    for quality in QUALITIES:
        for shape in (photo(colour=colour), photo(colour=colour)[:97, :131]):
            assert decode_image(jpeg(shape, KINDS[kind], quality), "a.jpg").shape == shape.shape


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_that_lost_bytes_between_its_markers_is_refused(kind: str, colour: bool) -> None:
    data = jpeg(photo(colour=colour), KINDS[kind])
    start, rng = scan_start(data), np.random.default_rng(4)
    for lost in (600, 1500):
        for place in rng.integers(start, len(data) - lost - 2, 8):
            with pytest.raises(DataError, match=r"damaged within|breaks off"):
                decode_image(data[:place] + data[place + lost :], "a.jpg")


def test_a_progressive_jpeg_without_one_of_its_scans_is_refused() -> None:
    data, walk = jpeg(photo(colour=True), KINDS["progressive"]), JpegWalk()
    assert walk.go_on(data) is State.WHOLE
    scans = [one for one in walk.segments if one.kind == SCAN]
    assert len(scans) > 5
    for scan in scans:
        # Its marker and length are four bytes more.
        with pytest.raises(DataError, match="scans"):
            decode_image(data[: scan.start - 4] + data[scan.data_end :], "a.jpg")
    twice = data[: scans[1].data_end] + data[scans[1].start - 4 :]
    with pytest.raises(DataError, match="scans do not follow"):
        decode_image(twice, "a.jpg")


def test_whatever_is_changed_in_a_jpeg_it_is_read_or_refused() -> None:
    rng = np.random.default_rng(7)
    for kind, flags in KINDS.items():
        data = jpeg(photo(colour=True, size=64), flags)
        for _ in range(60):
            damaged = bytearray(data)
            for place in rng.integers(2, len(data), 3):
                damaged[place] = rng.integers(0, 256)
            with suppress(DataError):
                assert decode_image(bytes(damaged), f"{kind}.jpg").ndim in (2, 3)


def test_a_large_jpeg_that_lost_bytes_is_refused_too_and_a_grey_margin_is_no_loss() -> None:
    rng = np.random.default_rng(5)
    image = rng.integers(0, 255, (600, 700), dtype=np.uint8)
    data = jpeg(image, [], 95)
    assert len(data) > 1 << 17
    assert decode_image(data, "a.jpg").shape == image.shape
    with pytest.raises(DataError, match="damaged within"):
        decode_image(data[: len(data) // 2] + data[len(data) // 2 + 2000 :], "a.jpg")
    for size in (300, 4096):
        start = len(data) // 2
        with pytest.raises(DataError, match="damaged within"):
            decode_image(data[:start] + bytes(size) + data[start + size :], "a.jpg")
    image[500:] = 128
    assert decode_image(jpeg(image, [], 95), "a.jpg").shape == image.shape


def test_a_jpeg_of_megabytes_is_judged_by_the_grey_at_its_end_and_by_its_hole_and_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To read all its code words took a second for each megabyte."""
    monkeypatch.setattr(jpeg_scan, "_MOST_READ_BYTES", 1 << 17)
    monkeypatch.setattr(jpeg_scan, "stretch_fault", lambda *_: pytest.fail("it was read"))
    image = np.random.default_rng(5).integers(0, 255, (600, 700), dtype=np.uint8)
    data = jpeg(image, [], 95)
    half = len(data) // 2
    with pytest.raises(DataError, match="ends in the grey that decoders fill with"):
        decode_image(data[:half] + data[half + 4096 :], "a.jpg")
    with pytest.raises(DataError, match="zeros within"):
        decode_image(data[:half] + bytes(512) + data[half + 512 :], "a.jpg")
    corner, background = image.copy(), np.zeros((4000, 4000), np.uint8)
    corner[-4:, -4:] = 128
    background[:600, :600] = image[:, :600]
    flat = jpeg(background, [cv2.IMWRITE_JPEG_OPTIMIZE, 1], 95)
    assert bytes(256) in flat
    for whole in (data, jpeg(corner, [], 95), flat):
        assert decode_image(whole, "a.jpg").ndim == 2


def test_a_large_jpeg_with_a_flat_background_is_whole_though_zeros_are_its_blocks() -> None:
    image = np.zeros((4000, 4000), np.uint8)
    image[:600, :600] = np.random.default_rng(5).integers(0, 255, (600, 600))
    data = jpeg(image, [cv2.IMWRITE_JPEG_OPTIMIZE, 1], 95)
    assert len(data) > 1 << 17
    assert bytes(256) in data
    assert decode_image(data, "a.jpg").shape == image.shape


def test_a_tiff_whose_last_tags_are_zeros_is_refused() -> None:
    """LZW without its predictor would be another picture."""
    data = cv2.imencode(".tif", photo(colour=False), [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes()
    assert decode_image(data, "a.tif").shape == (240, 240)
    start = int.from_bytes(data[4:8], "little")
    end = start + 2 + 12 * int.from_bytes(data[start : start + 2], "little")
    with pytest.raises(DataError, match=r"damaged within|cannot be decoded"):
        decode_image(data[: end - 36] + bytes(36) + data[end:], "a.tif")


@pytest.mark.parametrize("suffix", [".bmp", ".ppm"])
@pytest.mark.parametrize("channel", [0, 1, 2])
def test_the_rest_of_a_coloured_picture_that_is_zeros_is_noticed_where_two_channels_are_dark(
    suffix: str, channel: int
) -> None:
    image = np.zeros((120, 131, 3), np.uint8)
    image[..., channel] = photo(colour=False)[:120, :131]
    data = cv2.imencode(suffix, image)[1].tobytes()
    assert decode_image(data, f"a{suffix}").shape == image.shape
    cut = len(data) // 2 + 100
    with pytest.raises(DataError, match="breaks off"):
        decode_image(data[:cut] + bytes(len(data) - cut), f"a{suffix}")


def test_a_mask_in_a_bitmap_with_a_margin_is_whole() -> None:
    mask = np.zeros((900, 900), np.uint8)
    mask[100:300, 100:300] = 255
    for image in (mask, 255 - mask):
        assert decode_image(cv2.imencode(".pbm", image)[1].tobytes(), "a.pbm").shape == mask.shape


def sequence(kind: str, count: int, folder: Path) -> bytes:
    """A file of so many pictures."""
    pictures = [good_part(seed) if seed == 0 else bad_part(seed) for seed in range(count)]
    if kind == ".tif":
        cv2.imwritemulti(str(folder / "a.tif"), pictures)
        return (folder / "a.tif").read_bytes()
    animation = cv2.Animation()
    animation.frames = [np.dstack([one, np.full(one.shape[:2], 255, np.uint8)]) for one in pictures]
    animation.durations = np.full(count, 100, np.int32)
    cv2.imwriteanimation(str(folder / f"a{kind}"), animation)
    return (folder / f"a{kind}").read_bytes()


COMPRESSED = {
    "TIFF, LZW": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 5]),
    "TIFF, deflate": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 8]),
    "TIFF, old deflate, in one strip": (
        ".tif",
        [cv2.IMWRITE_TIFF_COMPRESSION, 32946, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 999],
    ),
    "TIFF, PackBits": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 32773]),
    "TIFF, JPEG in one strip": (".tif", [cv2.IMWRITE_TIFF_COMPRESSION, 7, cv2.IMWRITE_TIFF_ROWSPERSTRIP, 1024]),
    "JPEG 2000": (".jp2", []),
    "WebP": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 90]),
    "WebP, lossless": (".webp", [cv2.IMWRITE_WEBP_QUALITY, 101]),
}


@pytest.mark.parametrize("kind", COMPRESSED)
@pytest.mark.parametrize("colour", [False, True])
def test_a_compressed_file_with_a_hole_within_is_refused(kind: str, colour: bool) -> None:
    suffix, flags = COMPRESSED[kind]
    flat = np.full((700, 900, 3), 129, np.uint8)
    half = cv2.resize(photo(colour=True), (900, 700))
    half[300:] = 0
    for whole in (photo(colour=colour), photo(colour=colour)[:97, :131], flat, flat * 0, half):
        assert decode_image(cv2.imencode(suffix, whole, flags)[1].tobytes(), f"a{suffix}").shape[:2] == whole.shape[:2]
    data = cv2.imencode(suffix, photo(colour=colour, size=400), flags)[1].tobytes()
    lost = min(4096, len(data) // 4)
    for start in np.random.default_rng(2).integers(len(data) // 4, len(data) * 3 // 4 - lost, 6):
        damaged = data[:start] + bytes(lost) + data[start + lost :]
        with pytest.raises(DataError, match=r"damaged within|breaks off|cannot be decoded"):
            decode_image(damaged, f"a{suffix}")


@pytest.mark.parametrize("kind", [".tif", ".gif", ".webp", ".png"])
def test_a_file_of_several_pictures_is_refused_and_never_judged_by_its_first(kind: str, tmp_path: Path) -> None:
    data = sequence(kind, 3, tmp_path)
    assert picture_count(data) == 3
    with pytest.raises(DataError, match="holds 3 pictures"):
        decode_image(data, f"a{kind}")
    (frame,) = open_source(str(tmp_path / f"a{kind}"))
    assert frame.image is None
    assert "only the first would be looked at" in frame.error
    single = cv2.imencode(kind, good_part())[1].tobytes()
    assert picture_count(single) == 1
    assert decode_image(single, f"b{kind}").shape[:2] == (80, 80)


@pytest.mark.parametrize("kind", [".tif", ".gif", ".webp", ".png"])
def test_counting_pictures_ends_whatever_the_bytes_are(kind: str, tmp_path: Path) -> None:
    data, rng = bytearray(sequence(kind, 3, tmp_path)), np.random.default_rng(6)
    for _ in range(60):
        damaged = data.copy()
        for place in rng.integers(0, min(len(data), 400), 6):
            damaged[place] = rng.integers(0, 256)
        assert 1 <= picture_count(bytes(damaged)) <= 10_000
        assert 1 <= picture_count(bytes(damaged[: rng.integers(1, len(data))])) <= 10_000


def test_a_smaller_copy_within_a_tiff_is_no_picture_of_its_own(tmp_path: Path) -> None:
    data = bytearray(sequence(".tif", 2, tmp_path))
    order = "little" if data[:2] == b"II" else "big"
    first = int.from_bytes(data[4:8], order)
    second = int.from_bytes(data[first + 2 + 12 * int.from_bytes(data[first : first + 2], order) :][:4], order)
    # Its first entry becomes NewSubfileType = reduced.
    data[second + 2 : second + 14] = b"".join(
        number.to_bytes(size, order) for number, size in ((254, 2), (4, 2), (1, 4), (1, 4))
    )
    assert picture_count(bytes(data)) == 1
