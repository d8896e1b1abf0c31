"""WebDataset shards: tar archives of images with what is known of each beside it.

They are looked through once; after that each image is read by its place in its archive, in any order, and nothing is
unpacked. An image is called by its archive and its name in it: ``shards/000.tar/0001.jpg``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from patchcore_edge_runtime.errors import DataError
from patchcore_edge_runtime.images.listing import LeftOut, Why, describe_left_out

from ..batches import with_batches
from ..datamodule import DataModule
from ..dataset import ImageItem
from ..good_names import sounds_bad, sounds_good
from ..masks import Matches, beside_photos, match_masks
from ..split import hold_out
from ..splits import FolderRules, is_mask_folder, split_name
from .archives import Archive, find_archives, is_shards
from .remote import data_path, network_notes
from .rows import SPLITS, default_split, good_labels
from .samples import Sample, read_shard

__all__ = ["Shards", "images_in_shards", "is_shards"]

_TOKEN = re.compile(r"[-_. ]")


class Shards(DataModule):
    """The images in tar shards.

    Args:
        path: a folder of shards, one of them, a pattern as in ``part-{000..099}.tar`` or ``part-*.tar``, or a URL of
            such.
        val_split_ratio: share of the training images that is held out where none are for validation, in [0, 1).
        seed: decides which.
        rules: labels of good parts, and the pattern that finds an image's batch in its path.

    Raises:
        DataError: there are no shards, no images in them, or no label is known to be of good parts or several are.
        ConfigError: the share is not in [0, 1), the pattern does not fit, or a package for such URLs is not installed.
    """

    def __init__(
        self, path: str | Path, *, val_split_ratio: float = 0.0, seed: int = 0, rules: FolderRules | None = None
    ) -> None:
        path, rules = data_path(path), rules or FolderRules()
        base, samples, left_out = _look_through(find_archives(path))
        beside = set(beside_photos([sample.path for sample in samples]))
        masks = [sample.path for sample in samples if _is_mask(sample)]
        photos = [sample for sample in samples if not _is_mask(sample) and sample.path not in beside]
        labelled, notes = _labelled(str(path), photos, rules, left_out)
        items = [ImageItem(one.path, one.label, batch=one.batch) for one in labelled]
        items, matches = _masked(items, base, masks, beside)
        splits = _parted(items, {one.path: one.split for one in labelled}, left_out)
        notes = [*network_notes(path), *notes]
        if not any(splits.values()):
            raise DataError(f"{path} has no images that can be used. {describe_left_out(left_out, path)}".strip())
        if rules.group_by is not None:
            splits = {name: with_batches(some, base, rules.group_by) for name, some in splits.items()}
        train, validation = splits["train"], splits["validation"]
        if not validation:
            train, validation = hold_out(train, val_split_ratio, seed)
        super().__init__(path, train, validation, splits["test"], left_out=left_out, notes=notes, matches=matches)


def images_in_shards(path: Path) -> tuple[list[Path], list[LeftOut]]:
    """All images in shards but the masks, whatever is said of them, and what is left out.

    Raises:
        DataError, ConfigError: as ``Shards``.
    """
    _, samples, left_out = _look_through(find_archives(path))
    beside = set(beside_photos([sample.path for sample in samples]))
    return [one.path for one in samples if not _is_mask(one) and one.path not in beside], left_out


def _look_through(archives: Sequence[Archive]) -> tuple[Path, list[Sample], list[LeftOut]]:
    """The folder that all archives are below, the samples in them with their splits, and what is left out."""
    base = _shared_folder(archives)
    with ThreadPoolExecutor() as threads:
        folders = [archive.path.relative_to(base).parent.parts for archive in archives]
        shards = list(threads.map(read_shard, archives, folders))
    samples = [
        _in_split(sample, archive) for archive, shard in zip(archives, shards, strict=True) for sample in shard.samples
    ]
    return base, samples, [one for shard in shards for one in shard.left_out]


def _shared_folder(archives: Sequence[Archive]) -> Path:
    """The folder that all archives are below."""
    shared = archives[0].path.parent
    while not all(archive.path.is_relative_to(shared) for archive in archives):
        shared = shared.parent
    return shared


def _is_mask(sample: Sample) -> bool:
    return any(is_mask_folder(Path(name)) for name in sample.folders)


def _in_split(sample: Sample, archive: Archive) -> Sample:
    """A sample with its split: what is beside it says, else its folders, else the archive's name."""
    if sample.split:
        return sample
    found = [name for name in map(split_name, sample.folders) if name in SPLITS]
    first = split_name(_TOKEN.split(archive.path.stem)[0])
    return replace(sample, split=found[0] if found else first if first in SPLITS else "")


def _labelled(
    name: str, samples: Sequence[Sample], rules: FolderRules, left_out: list[LeftOut]
) -> tuple[list[Sample], Sequence[str]]:
    """Samples with their labels, and what to say of these; those of which the label is not known are left out."""
    if any(sample.label is not None or sample.is_broken for sample in samples):
        lost = [sample for sample in samples if sample.label is None or sample.is_broken]
        left_out += [LeftOut(sample.path, Why.UNLABELLED) for sample in lost]
        samples = [sample for sample in samples if sample.label is not None and not sample.is_broken]
    else:
        samples = _labelled_by_folders(name, samples)
    labels = {one.label for one in samples if one.label}
    good = good_labels(name, f"What is beside the images of {name}", labels, rules.good)
    meant = [(one, good.meant(one.label or "")) for one in samples]
    left_out += [LeftOut(one.path, Why.UNCLEAR) for one, label in meant if label is None]
    return [replace(one, label=label) for one, label in meant if label is not None], good.notes


def _labelled_by_folders(name: str, samples: Sequence[Sample]) -> list[Sample]:
    """By the folder in the split's, or by those among which one sounds like good parts; else folders are batches."""
    depths = {_depth_of_label(sample) for sample in samples} - {None}
    if depths:
        return [_told_by_folder(sample, _depth_of_label(sample)) for sample in samples]
    good = {depth for one in samples for depth, n in enumerate(one.folders) if sounds_good(n, number=False)}
    if good:
        return [_told_by_folder(sample, min(good)) for sample in samples]
    for sample in samples:
        for folder in filter(sounds_bad, sample.folders):
            raise DataError(
                f"{name} holds a folder {folder}, which does not sound like good parts, and none that does; "
                "name the labels beside the images."
            )
    batches = {sample.folders for sample in samples}
    return [replace(one, batch="/".join(one.folders)) for one in samples] if len(batches) > 1 else list(samples)


def _depth_of_label(sample: Sample) -> int | None:
    return next((depth + 1 for depth, name in enumerate(sample.folders) if split_name(name) in SPLITS), None)


def _told_by_folder(sample: Sample, depth: int | None) -> Sample:
    label = sample.folders[depth : depth + 1] if depth is not None else ()
    return replace(sample, label=label[0] if label else None)


def _masked(
    items: Sequence[ImageItem], base: Path, masks: Sequence[Path], beside: Collection[Path]
) -> tuple[list[ImageItem], Matches]:
    """Images with their masks: beside them, or in a folder of masks beside that of the split."""
    photos, found = list(items), Matches()
    if beside:
        found = match_masks([one.path for one in photos], base, base, sorted(beside))
        found = found.joined(Matches(beside=sorted(beside)))
    roots = {root for mask in masks for root in mask.parents if is_mask_folder(root)}
    for root in sorted(roots):
        below = [mask for mask in masks if mask.is_relative_to(root)]
        for split in _splits_beside(root, photos):
            rest = [one.path for one in photos if one.path.is_relative_to(split) and one.path not in found.masks]
            matched = match_masks(rest, split, root, below)
            found = found.joined(matched)
    return [replace(one, mask=found.masks.get(one.path)) for one in photos] if found.masks else photos, found


def _splits_beside(root: Path, photos: Sequence[ImageItem]) -> list[Path]:
    """The folders whose images a folder of masks is for: its own split's, else that of the test images beside it."""
    if split_name(root.parent.name) in SPLITS:
        return [root.parent]
    depth = len(root.parent.parts)
    beside = {root.parent / one.path.parts[depth] for one in photos if one.path.is_relative_to(root.parent)}
    return sorted(folder for folder in beside if split_name(folder.name) == "test")


def _parted(
    items: Sequence[ImageItem], split_of: dict[Path, str], left_out: list[LeftOut]
) -> dict[str, list[ImageItem]]:
    """Images by split; what is not good and not to be tested with is left out."""
    splits: dict[str, list[ImageItem]] = {name: [] for name in SPLITS}
    for item in items:
        split = default_split(split_of[item.path], str(item.label))
        if split not in splits:
            left_out.append(LeftOut(item.path, Why.UNUSED))
        elif split == "train" and item.is_defective:
            left_out.append(LeftOut(item.path, Why.NOT_GOOD))
        else:
            splits[split].append(item)
    return splits
