"""Synthetic defects: repeatable, where the mask says, of every kind, size and strength, and mostly on the part."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import pytest
from conftest import part
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge.data.synthetic_defects import KINDS, SyntheticDefect, make_defects, synthetic_defects
from patchcore_edge.data.synthetic_defects.foreground import part_of
from patchcore_edge_runtime.images.preprocess import Image


def discs(count: int, size: int = 96) -> list[Image]:
    rng = np.random.default_rng(5)
    return [part(rng, size=size) for _ in range(count)]


def textures(count: int, size: int = 96, sigma: float = 12.0) -> list[Image]:
    """Coloured noise, some of it coarse: the picture is all part."""
    rng = np.random.default_rng(6)
    coarse = rng.normal(0, sigma, (count, size // 8, size // 8, 3)).astype(np.float32)
    grown = [cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC) for one in coarse]
    return [np.clip(120 + one + rng.normal(0, 3, one.shape), 0, 255).astype(np.uint8) for one in grown]


class Lazy(Sequence[Image]):
    """Decodes when asked, and counts."""

    def __init__(self, images: list[Image]) -> None:
        self.images, self.asked = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:  # type: ignore[override]
        self.asked += 1
        return self.images[index].copy()


def same(one: SyntheticDefect, two: SyntheticDefect) -> bool:
    facts = [(each.kind, each.strength, each.source) for each in (one, two)]
    return facts[0] == facts[1] and np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask)


def test_a_defect_depends_on_seed_image_and_number_only() -> None:
    images = discs(9)
    three = list(make_defects(images, per_image=3, seed=4))
    two, again, other = (list(make_defects(images, per_image=2, seed=seed)) for seed in (4, 4, 5))
    for source in range(len(images)):
        for number in range(2):
            assert same(two[2 * source + number], three[3 * source + number])
    assert all(map(same, two, again))
    assert not any(np.array_equal(one.image, two.image) for one, two in zip(two, other, strict=True))
    assert [one.source for one in two] == [source for source in range(9) for _ in range(2)]


def test_no_global_generator_and_no_given_image_is_touched() -> None:
    images = discs(7)
    kept = [image.copy() for image in images]
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    cv2.setRNGSeed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    first = list(make_defects(images))
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002
    cv2.setRNGSeed(2)
    assert all(map(same, first, make_defects(images)))
    assert all(map(np.array_equal, images, kept))


def test_they_come_one_by_one_from_images_that_decode_when_asked() -> None:
    images = Lazy(textures(20))
    made = make_defects(images, per_image=2)
    assert images.asked == 0
    next(made)
    assert 1 <= images.asked <= 2
    rest = list(made)
    assert len(rest) == 39
    # Each for itself, and now and then for its texture.
    assert images.asked <= 20 + 40 / 7 + 1
    assert all(map(same, rest, [*make_defects(images.images, per_image=2)][1:]))


@pytest.mark.parametrize("images", [discs(14), textures(14)], ids=["part", "texture"])
def test_the_mask_has_all_that_changed_and_little_else(images: list[Image]) -> None:
    for defect in make_defects(images, per_image=4, seed=2):
        changed = (defect.image != images[defect.source]).any(2)
        assert not (changed & ~defect.mask).any()
        assert changed.sum() > 0.5 * defect.mask.sum()
        assert 0 < defect.mask.mean() < 0.2
        assert (defect.image.dtype, defect.image.shape) == (np.uint8, (96, 96, 3))
        assert (defect.mask.dtype, defect.mask.shape) == (np.bool_, (96, 96))


def test_every_kind_is_as_frequent_and_an_image_gets_different_ones() -> None:
    images = discs(16, 64)
    for per_image in (1, 3):
        made = list(make_defects(images, per_image, seed=1))
        counts = Counter(defect.kind for defect in made)
        assert set(counts) == set(KINDS)
        assert max(counts.values()) - min(counts.values()) <= per_image
    by_source = [{defect.kind for defect in made if defect.source == source} for source in range(16)]
    assert all(len(kinds) == 3 for kinds in by_source)


def test_strengths_go_evenly_from_weak_to_strong() -> None:
    made = list(make_defects(textures(40, 64), per_image=2))
    strengths = np.sort([defect.strength for defect in made])
    assert np.abs(strengths - (np.arange(80) + 0.5) / 80).max() < 0.06
    for kind in KINDS:
        of_kind = [defect.strength for defect in made if defect.kind == kind]
        assert min(of_kind) < 0.35
        assert max(of_kind) > 0.65


def test_a_stronger_defect_changes_more() -> None:
    images = textures(60)
    made = list(make_defects(images, per_image=3))
    for kind in ("scratch", "spots", "missing"):
        changes = [(one.strength, _change(one, images)) for one in made if one.kind == kind]
        weak = np.median([change for strength, change in changes if strength < 0.4])
        strong = np.median([change for strength, change in changes if strength > 0.6])
        assert strong > 1.5 * weak


def _change(defect: SyntheticDefect, images: Sequence[Image]) -> float:
    difference = np.abs(defect.image.astype(np.float64) - images[defect.source])
    return float(difference[defect.mask].mean())


@pytest.mark.parametrize("cell", [8, 16])
def test_sizes_go_from_one_cell_to_a_quarter_of_the_side(cell: int) -> None:
    boxes = [
        cv2.boundingRect(defect.mask.astype(np.uint8))[2:]
        for defect in make_defects(textures(40, 256), per_image=2, cell=cell)
    ]
    longest = np.array([max(box) for box in boxes])
    assert longest.min() >= cell
    assert (longest < 3 * cell).mean() > 0.15
    assert longest.max() > 64
    # A scratch of that size is two and a half times as long, and a corner may stand out.
    assert longest.max() < 0.8 * 256


def test_a_grey_image_stays_grey_and_a_coloured_one_gets_colour() -> None:
    images = [cv2.cvtColor(cv2.cvtColor(one, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR) for one in textures(7)]
    # The texture of a coloured image may come in.
    for defect in make_defects([*images, *textures(7)], per_image=7):
        grey = bool((defect.image == defect.image[..., :1]).all())
        assert grey == (defect.source < 7)


def test_most_are_on_the_part() -> None:
    images = discs(30)
    inside = [part_of(images[defect.source])[_middle(defect.mask)] for defect in make_defects(images, per_image=4)]
    share = np.mean(inside)
    assert 0.75 < share < 0.97
    assert share > part_of(images[0]).mean() + 0.25


def _middle(mask: np.ndarray) -> tuple[int, int]:
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return y + height // 2, x + width // 2


def test_the_part_is_found_where_there_is_one() -> None:
    disc = np.zeros((96, 96), np.uint8)
    cv2.circle(disc, (48, 48), 32, 1, -1)
    for image in discs(5):
        found = part_of(image)
        overlap = (found & (disc > 0)).sum() / (found | (disc > 0)).sum()
        assert overlap > 0.8
    ramp = np.tile(np.linspace(20, 230, 96).astype(np.uint8)[:, None, None], (1, 96, 3))
    for image in (*textures(5), ramp, np.full((40, 70, 3), 9, np.uint8)):
        assert part_of(image).all()


@st.composite
def pictures(draw: st.DrawFn) -> Image:
    """Of any shape from 16 pixels a side: flat, black, white, noise, a ramp or an edge."""
    height, width = draw(st.integers(16, 72)), draw(st.integers(16, 72))
    level = draw(st.sampled_from([0, 1, 90, 254, 255]))
    noise = draw(st.sampled_from([0, 2, 60]))
    slope = draw(st.sampled_from([0.0, 3.0]))
    edge = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 3)))
    image = level + slope * np.arange(width)[None, :, None] + noise * rng.standard_normal((height, width, 3))
    if edge:
        image[height // 3 :] = 255 - level
    return np.clip(image, 0, 255).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(image=pictures(), seed=st.integers(0, 2**40), cell=st.integers(1, 40))
def test_whatever_the_picture_each_kind_changes_it_visibly(image: Image, seed: int, cell: int) -> None:
    made = list(make_defects([image], len(KINDS), seed, cell=cell))
    assert {defect.kind for defect in made} == set(KINDS)
    for defect in made:
        difference = np.abs(defect.image.astype(int) - image).max(2)
        assert difference.max() >= 2
        assert not (difference[~defect.mask]).any()
        assert max(cv2.boundingRect(defect.mask.astype(np.uint8))[2:]) >= min(
            cell, *(side // 2 for side in image.shape[:2])
        )


@pytest.mark.parametrize("size", [8, 16, 32])
def test_tiny_images_and_sets_of_one(size: int) -> None:
    image = discs(1, 80)[0][:size, :size]
    assert [defect.source for defect in make_defects([image], 14)] == [0] * 14


def test_nothing_to_do_and_wrong_inputs() -> None:
    assert list(make_defects([])) == []
    image = discs(1)[0]
    with pytest.raises(ValueError, match="at least 1"):
        make_defects([image], 0)
    with pytest.raises(ValueError, match="at least 1"):
        make_defects([image], cell=0)
    with pytest.raises(ValueError, match="not negative"):
        make_defects([image], seed=-1)
    for wrong in (image[..., 0], image.astype(np.float32), image[..., :2]):
        with pytest.raises(ValueError, match="not HxWx3 uint8"):
            next(make_defects([wrong]))


def test_the_short_form_gives_the_pictures() -> None:
    images = discs(8)
    pictures_: Iterator[Image] = (defect.image for defect in make_defects(images, seed=3))
    assert all(map(np.array_equal, synthetic_defects(images, 3), pictures_))
