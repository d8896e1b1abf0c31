"""Change what a line engineer may change in a bundle, and keep the bundle whole.

Thresholds stand in two places: in the manifest, which this runtime reads, and in the IR's ``model_info``, which Intel's
Model API reads. Both are changed together with the sha256 of ``model.xml`` and the digest of the manifest, in a copy of
the bundle that then takes its place. What was changed is kept in the manifest's ``history``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..atomic_folder import atomic_folder
from ..errors import ConfigError
from ..images.geometry import Polygon
from ..validation import first_fault
from ..verdict import Thresholds
from .bundle import MANIFEST, MODEL_XML, Bundle, file_facts, write_manifest
from .manifest import Edit, Labels, Manifest
from .model_info import rewrite_model_info

__all__ = ["BundleEdit", "edit_bundle"]


class BundleEdit:
    """What to change; what is not given stays.

    Args:
        image, pixel, warn: thresholds on raw scores.
        no_warn: take the WARN threshold away.
        labels: words for a good and an anomalous part.
        ignore_masks: polygons in fractions of the frame, in place of those before; empty for none.
    """

    def __init__(
        self,
        *,
        image: float | None = None,
        pixel: float | None = None,
        warn: float | None = None,
        no_warn: bool = False,
        labels: tuple[str, str] | None = None,
        ignore_masks: tuple[Polygon, ...] | None = None,
    ) -> None:
        self._limits = {"image": image, "pixel": pixel, "warn": warn}
        self._no_warn = no_warn
        self._labels = labels
        self._masks = ignore_masks

    def changes(self, manifest: Manifest) -> Iterator[tuple[str, Any, Any]]:
        """Field, value before and value after of everything that differs."""
        before = manifest.thresholds.model_dump()
        after = {**before, **{name: value for name, value in self._limits.items() if value is not None}}
        if self._no_warn:
            after["warn"] = None
        Thresholds.model_validate(after)
        for name in before:
            if after[name] != before[name]:
                yield f"thresholds.{name}", before[name], after[name]
        if self._labels is not None:
            labels = Labels(good=self._labels[0], anomalous=self._labels[1])
            if labels != manifest.labels:
                yield "labels", manifest.labels.model_dump(), labels.model_dump()
        if self._masks is not None and self._masks != manifest.ignore_masks:
            yield "ignore_masks", manifest.ignore_masks, self._masks


def edit_bundle(path: Path, edit: BundleEdit, by: str) -> tuple[Manifest, tuple[Edit, ...]]:
    """Change a bundle in place, whole or not at all.

    Args:
        path: bundle folder; no program may be starting from it at the same moment.
        edit: what to change.
        by: who changes it, for the record.

    Returns:
        the manifest as it is now, and the records that this added to its history.

    Raises:
        BundleError: the bundle is damaged.
        ConfigError: nothing changes, or a value cannot be used.
    """
    bundle = Bundle.load(path)
    try:
        manifest = _changed(bundle.manifest, edit, by)
    except ValidationError as error:
        raise ConfigError(f"The bundle cannot be changed so ({first_fault(error)}); give another value.") from None
    if manifest is None:
        raise ConfigError("Nothing would change; give a value that differs from the bundle's.")
    with atomic_folder(path, MANIFEST) as fresh:
        bundle.copy_to(fresh)
        rewrite_model_info(fresh / MODEL_XML, manifest.thresholds, manifest.labels)
        files = {**manifest.files, MODEL_XML: file_facts(fresh / MODEL_XML)}
        manifest = manifest.model_copy(update={"files": files})
        write_manifest(fresh, manifest)
        Bundle.load(fresh)
    return manifest, manifest.history[len(bundle.manifest.history) :]


def _changed(manifest: Manifest, edit: BundleEdit, by: str) -> Manifest | None:
    document = manifest.model_dump(mode="json")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    edits = list(edit.changes(manifest))
    for field, before, after in edits:
        holder, _, name = field.rpartition(".")
        (document[holder] if holder else document)[name] = after
        record = Edit.model_validate({"when": when, "by": by, "field": field, "before": before, "after": after})
        document["history"].append(record.model_dump(mode="json"))
    return Manifest.model_validate(document) if edits else None
