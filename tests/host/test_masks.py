"""Masks as people have them: found by name, laid on their photos pixel by pixel, and never gone without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from patchcore_edge.data import ImageDataset, ImageItem
from patchcore_edge.data.mask_pixels import Masks
from patchcore_edge.data.masks import beside_photos, match_masks, with_masks
from patchcore_edge.data.picture_header import read_header, turned_upright
from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.preprocess import PreprocessSpec

SPEC = PreprocessSpec(height=24, width=24)
MARKED = np.zeros((24, 40), np.bool_)
MARKED[4:10, 20:33] = True


def touched(root: Path, *names: str) -> list[Path]:
    paths = [root / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("crack/003.png", "crack/003_mask.png"),
        ("crack/003.jpg", "crack/003.png"),
        ("crack/003.bmp", "crack/003_MASK.BMP"),
        ("crack/003.JPG", "Crack/003_gt.tif"),
        ("crack/003.jpg", "crack/003.jpg.png"),
        ("crack/003.jpg", "crack/003.jpg_mask.webp"),
        ("crack/003.jpg", "crack/mask_003.png"),
        ("crack/003.jpg", "crack/mask003.png"),
        ("crack/003.jpg", "crack/003-label.png"),
        ("crack/003.jpg", "crack/003 ground_truth.png"),
        ("crack/part.3.jpg", "crack/part.3_mask.png"),
        ("crack/lot1/003.jpg", "crack/lot1/003_mask.png"),
        ("crack /003.jpg", "crack/003_mask.png"),
        ("crack/003.jpg", "003_mask.png"),
        ("003.jpg", "crack/003_mask.png"),
        ("crack/image3.png", "crack/mask3.png"),
        ("crack/photo_0012.png", "crack/gt_12.png"),
    ],
)
def test_a_mask_is_found_under_the_names_that_people_give(image: str, mask: str, tmp_path: Path) -> None:
    photos, masks = touched(tmp_path / "test", image), touched(tmp_path / "masks", mask)
    found = match_masks(photos, tmp_path / "test", tmp_path / "masks")
    assert found.masks == {photos[0]: masks[0]}
    assert found.left_over == []


def test_a_folder_that_is_called_as_an_image_is_holds_its_masks(tmp_path: Path) -> None:
    photos = touched(tmp_path / "test", "bent/000.png", "bent/001.png")
    touched(tmp_path / "gt", "bent/000/000.png", "bent/000/001.png", "bent/002/000.png")
    found = match_masks(photos, tmp_path / "test", tmp_path / "gt")
    assert found.masks == {photos[0]: tmp_path / "gt/bent/000"}
    assert found.left_over == [tmp_path / "gt/bent/002/000.png"]


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (("crack/003.png",), ("hole/003_mask.png",)),  # of another kind
        (("crack/003.png", "crack/003.jpg"), ("crack/003_mask.png",)),  # of either
        (("crack/003.png", "crack/004.png"), ("crack/old5.png",)),
        (("crack/003.png", "crack/004.png"), ("crack/003_mask.png", "crack/mask_new_4.png")),  # names, not numbers
        (("crack/a3.png", "crack/b4.png"), ("crack/mask3.png", "crack/mask4.png")),  # more than numbers differs
    ],
)
def test_a_mask_that_may_be_anothers_is_left_over(
    images: tuple[str, ...], masks: tuple[str, ...], tmp_path: Path
) -> None:
    found = match_masks(
        touched(tmp_path / "i", *images), tmp_path / "i", *touched(tmp_path / "m", *masks)[:0], tmp_path / "m"
    )
    assert found.left_over
    assert all(image.stem in mask.stem for image, mask in found.masks.items())


def test_of_two_masks_the_surest_name_is_taken_and_the_other_is_left_over(tmp_path: Path) -> None:
    (photo,) = touched(tmp_path / "i", "crack/003.png")
    touched(tmp_path / "m", "crack/003.png", "crack/003_mask.bmp", "crack/003_mask.png", "crack/003_gt.png")
    found = match_masks([photo], tmp_path / "i", tmp_path / "m")
    assert found.masks[photo].name == "003_mask.png"
    assert {path.name for path in found.left_over} == {"003.png", "003_mask.bmp", "003_gt.png"}


def test_masks_beside_their_photos_are_told_from_photos(tmp_path: Path) -> None:
    files = touched(tmp_path, "1.png", "1_GT.png", "2.jpg", "2_label.bmp", "weight.png", "gasket_mask.png")
    assert [path.name for path in beside_photos(files)] == ["1_GT.png", "2_label.bmp"]


def test_masks_in_a_folder_within_their_photos_folder_are_masks_and_no_images(tmp_path: Path) -> None:
    photos = touched(tmp_path, "crack/003.jpg", "hole/003.jpg")
    masks = touched(tmp_path, "crack/masks/003.png", "hole/Ground Truth/003_mask.png")
    items, found = with_masks([ImageItem(path, "defective") for path in (*photos, *masks)], tmp_path, [])
    assert {item.path: item.mask for item in items} == dict(zip(photos, masks, strict=True))
    assert found.beside == sorted(masks)


def bgra(colour: object, alpha: object) -> np.ndarray:
    return np.dstack([np.broadcast_to(np.uint8(colour), (*MARKED.shape, 3)), np.broadcast_to(alpha, MARKED.shape)])


def pillow(path: Path, image: Image.Image, **options: object) -> None:
    image.save(path, **options)


ONES = MARKED.astype(np.uint8)
KINDS = ONES.copy()
KINDS[MARKED & (np.arange(40) > 25)] = 200
WAYS: dict[str, Callable[[Path], object]] = {
    "0 and 255": lambda path: cv2.imwrite(str(path), ONES * 255),
    "0 and 1": lambda path: cv2.imwrite(str(path), ONES),
    "0 and 236": lambda path: cv2.imwrite(str(path), ONES * 236),
    "labels 1 and 200": lambda path: cv2.imwrite(str(path), KINDS),
    "16 bit": lambda path: cv2.imwrite(str(path), ONES.astype(np.uint16) * 65535),
    "16 bit, 0 and 1": lambda path: cv2.imwrite(str(path), ONES.astype(np.uint16)),
    "16 bit, labels": lambda path: cv2.imwrite(str(path), KINDS.astype(np.uint16) * 256),
    "1 bit": lambda path: pillow(path, Image.fromarray(MARKED)),
    "red on black": lambda path: cv2.imwrite(str(path), np.dstack([ONES * 0, ONES * 0, ONES * 255])),
    "dark blue and white on black": lambda path: cv2.imwrite(
        str(path),
        np.dstack([np.where(KINDS == 1, 60, KINDS), np.where(KINDS == 1, 0, KINDS), np.where(KINDS == 1, 0, KINDS)]),
    ),
    "white on transparent": lambda path: cv2.imwrite(str(path), bgra(ONES[..., None] * 255, ONES * 255)),
    "black on transparent": lambda path: cv2.imwrite(str(path), bgra(0, ONES * 255)),
    "white where transparent": lambda path: cv2.imwrite(str(path), bgra(255, ONES * 255)),
    "white on black, all opaque": lambda path: cv2.imwrite(str(path), bgra(ONES[..., None] * 255, 255)),
    "grey on transparent": lambda path: pillow(path, Image.fromarray(np.dstack([ONES * 9, ONES * 255]), "LA")),
    "palette": lambda path: pillow(path, palette([0, 0, 0, 128, 0, 0])),
    "palette with a bright background": lambda path: pillow(path, palette([250, 250, 240, 128, 0, 0])),
    "palette, transparent background": lambda path: pillow(path, palette([9, 9, 9, 0, 0, 0]), transparency=0),
    "JPEG under another name": lambda path: path.write_bytes(
        cv2.imencode(".jpg", ONES * 255, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    ),
    "soft edges": lambda path: cv2.imwrite(str(path), soft()),
}


def palette(colours: list[int]) -> Image.Image:
    image = Image.fromarray(ONES).convert("P")
    image.putpalette(colours)
    return image


def soft() -> np.ndarray:
    """Each edge in a grey that is less than half, outside of what is marked."""
    wide = cv2.dilate(ONES, np.ones((3, 3), np.uint8))
    return np.where(MARKED, 255, np.where(wide, 90, 0)).astype(np.uint8)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*MARKED.shape, 3), np.uint8))
    return path


@pytest.mark.filterwarnings("ignore:'mode' parameter")
@pytest.mark.parametrize("way", WAYS)
def test_a_mask_marks_the_same_pixels_however_it_is_stored(way: str, photo: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    WAYS[way](mask)
    found = Masks([]).read(photo, mask)
    np.testing.assert_array_equal(found.marked, MARKED)
    assert found.is_soft == (way in ("soft edges", "JPEG under another name"))


def test_all_masks_in_a_folder_mark(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "photo").mkdir()
    for place, columns in enumerate((slice(0, 25), slice(25, 40))):
        part = np.zeros_like(ONES)
        part[:, columns] = ONES[:, columns] * (240 + place)
        cv2.imwrite(str(tmp_path / "photo" / f"00{place}.png"), part)
    np.testing.assert_array_equal(Masks([]).read(photo, tmp_path / "photo").marked, MARKED)


def turned_photo(path: Path, upright: np.ndarray, orientation: int) -> np.ndarray:
    """Write pixels so that EXIF turns them upright; returns how masks lie that are drawn on the stored pixels."""
    back = {6: 8, 8: 6}.get(orientation, orientation)
    exif = Image.Exif()
    exif[274] = orientation
    extra = {"tiffinfo": {274: orientation}} if path.suffix == ".tif" else {"exif": exif}
    Image.fromarray(turned_upright(upright, back)).save(path, **extra)
    return turned_upright(MARKED, back)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".jp2"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_says_how_large_the_decoded_picture_is(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"turned{suffix}"
    stored = turned_photo(path, np.zeros((24, 40, 3), np.uint8), orientation)
    header = read_header(path)
    assert header is not None
    assert header.upright == read_image(path).shape[:2]
    if suffix != ".jp2":
        assert (header.stored, header.upright, header.orientation) == (stored.shape, (24, 40), orientation)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_drawn_on_the_stored_pixels_is_turned_with_its_photo(orientation: int, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    stored = turned_photo(photo, np.zeros((24, 40, 3), np.uint8), orientation)
    for name, drawn in (("stored.png", stored), ("upright.png", MARKED)):
        cv2.imwrite(str(tmp_path / name), drawn.astype(np.uint8) * 255)
        np.testing.assert_array_equal(Masks([]).read(photo, tmp_path / name).marked, MARKED)


def test_where_a_mask_fits_both_ways_the_others_decide_and_without_others_it_is_doubtful(tmp_path: Path) -> None:
    pairs = []
    for orientation in (3, 6):
        photo, mask = tmp_path / f"{orientation}.jpg", tmp_path / f"{orientation}_mask.png"
        stored = turned_photo(photo, np.zeros((24, 40, 3), np.uint8), orientation)
        cv2.imwrite(str(mask), stored.astype(np.uint8) * 255)
        pairs.append((photo, mask))
    both = Masks(pairs)
    for photo, mask in pairs:
        np.testing.assert_array_equal(both.read(photo, mask).marked, MARKED)
    assert both.doubtful == []
    assert Masks(pairs[:1]).doubtful == [pairs[0][1]]
    np.testing.assert_array_equal(Masks(pairs[:1]).read(*pairs[0]).marked, MARKED[::-1, ::-1])


@pytest.mark.parametrize("size", [(40, 24), (48, 80), (24, 41), (12, 20)])
def test_a_mask_of_another_size_is_refused_with_both_sizes_and_not_stretched(
    size: tuple[int, int], photo: Path, tmp_path: Path
) -> None:
    mask = tmp_path / "mask.png"
    cv2.imwrite(str(mask), np.full(size, 255, np.uint8))
    dataset = ImageDataset([ImageItem(photo, "crack", mask)] * 2, SPEC)
    for refused in (lambda: list(dataset.batches(1)), lambda: dataset.mask(0)):
        with pytest.raises(DataError, match=rf"{size[1]}x{size[0]} pixels and its photo .* 40x24"):
            refused()


def test_what_a_mask_does_not_know_is_not_taken_for_good_pixels(photo: Path, tmp_path: Path) -> None:
    masks = {name: tmp_path / f"{name}.png" for name in ("marks", "nothing")}
    cv2.imwrite(str(masks["marks"]), ONES * 255)
    cv2.imwrite(str(masks["nothing"]), ONES * 0)
    items = [
        ImageItem(photo, "crack", masks["marks"]),
        ImageItem(photo, "crack", masks["nothing"]),
        ImageItem(photo, "crack"),
        ImageItem(photo, "good", masks["marks"]),
        ImageItem(photo, "good", masks["nothing"]),
        ImageItem(photo, "good"),
    ]
    (batch,) = ImageDataset(items, SPEC).batches(6)
    assert batch.has_mask is not None
    assert batch.gt_mask is not None
    assert batch.has_mask.tolist() == [True, False, False, False, True, True]
    assert batch.gt_mask.any((1, 2)).tolist() == [True, *[False] * 5]
