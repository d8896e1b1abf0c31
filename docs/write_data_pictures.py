"""The pictures and the report of docs/data.md: ``python -m docs.write_data_pictures`` from the repository.

Writes docs/images/masks.jpg and prints the report of a small data set, drawn on the spot, in which much is amiss.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from patchcore_edge.data import FolderRules, open_whole, report_data
from patchcore_edge.data.mask_pixels import Masks
from samples.masks_over_photos import outlined

SIZE = (180, 300)
TITLE = 26


def part(rng: np.random.Generator, *, scratched: bool) -> tuple[np.ndarray, np.ndarray]:
    """A washer on a bench, and the mask of its scratch."""
    image = np.full((*SIZE, 3), 60, np.uint8) + rng.integers(0, 12, (*SIZE, 3), np.uint8)
    centre = (190 + int(rng.integers(-4, 5)), 78 + int(rng.integers(-4, 5)))
    for radius, grey in ((62, 170), (24, 66)):
        cv2.circle(image, centre, radius, (grey, grey, grey + 6), -1, cv2.LINE_AA)
    mask = np.zeros(SIZE, np.uint8)
    if scratched:
        ends = [(centre[0] + x, centre[1] + y) for x, y in ((26, -38), (50, 14))]
        cv2.line(image, *ends, (235, 240, 240), 3, cv2.LINE_AA)
        cv2.line(mask, *ends, 255, 9)
    return image, mask


def messy(root: Path) -> None:
    """Data as people have them."""
    rng = np.random.default_rng(1)
    exif = Image.Exif()
    exif[274] = 6
    for folder, count in (("train/OK", 24), ("test/OK", 8), ("test/scratch", 6)):
        (root / folder).mkdir(parents=True)
        for place in range(count):
            scratched = folder.endswith("scratch")
            image, mask = part(rng, scratched=scratched)
            turned = scratched and place < 2
            stored = Image.fromarray(np.ascontiguousarray((np.rot90(image) if turned else image)[..., ::-1]))
            stored.save(root / folder / f"{place:03d}.jpg", quality=95, **({"exif": exif} if turned else {}))
            if scratched and place != 3:
                where = root / "ground_truth" / "scratch" / f"{place:03d}_mask.png"
                where.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(where), np.ascontiguousarray(np.rot90(mask)) if turned else mask)
    shutil.copy(root / "train/OK/005.jpg", root / "test/OK/005.jpg")
    shutil.copy(root / "ground_truth/scratch/000_mask.png", root / "ground_truth/scratch/009_mask.png")
    (root / "train/OK/IMG_0007.heic").write_bytes(b"a phone's")
    (root / "test/@eaDir").mkdir()
    shutil.copy(root / "test/OK/001.jpg", root / "test/@eaDir/001.jpg")


def pictures(root: Path) -> np.ndarray:
    """A photo that EXIF turns: as it is stored, with its mask stretched over it, and as it is read."""
    photo, file = root / "test/scratch/000.jpg", root / "ground_truth/scratch/000_mask.png"
    mask = cv2.imread(str(file), 0)
    stored = cv2.imread(str(photo), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    upright = cv2.imread(str(photo))
    stretched = cv2.resize(mask, SIZE[::-1], interpolation=cv2.INTER_NEAREST)
    shown = [(stored, mask, "as stored, and its mask"), (upright, stretched, "stretched: never")]
    panels = [titled(drawn(picture, marks), title) for picture, marks, title in shown]
    panels.append(titled(outlined(Masks([(photo, file)]), photo, file), "turned with its photo"))
    gap = np.full((len(panels[0]), 12, 3), 255, np.uint8)
    return np.hstack([one for panel in panels for one in (panel, gap)][:-1])


def drawn(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture with a red line around what a mask of its size marks."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(picture.copy(), contours, -1, (60, 60, 240), 1, cv2.LINE_AA)


def titled(picture: np.ndarray, title: str) -> np.ndarray:
    """On white, as high as the highest, with a line of text above."""
    high, wide = max(SIZE) + TITLE, max(picture.shape[1], 210)
    panel = np.full((high, wide, 3), 255, np.uint8)
    cv2.putText(panel, title, (2, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    panel[TITLE : TITLE + picture.shape[0], : picture.shape[1]] = picture
    return panel


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "washers"
        messy(data)
        cv2.imwrite(str(Path(__file__).parent / "images" / "masks.jpg"), pictures(data), [cv2.IMWRITE_JPEG_QUALITY, 88])
        sys.stdout.write(str(report_data(open_whole(data, FolderRules()))).replace(folder + "/", "") + "\n")
