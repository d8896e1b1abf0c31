"""The manifest: its schema is written down, older ones are read, and what is out of bounds is refused."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from patchcore_edge_runtime.bundle.bundle import MANIFEST, Bundle
from patchcore_edge_runtime.bundle.manifest import manifest_digest, manifest_schema
from patchcore_edge_runtime.errors import BundleError


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def rewrite(bundle: Path, document: dict[str, Any]) -> None:
    document["digest"] = manifest_digest(document)
    (bundle / MANIFEST).write_text(json.dumps(document), encoding="utf-8")


def read(bundle: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    return document


def test_the_committed_schema_is_that_of_the_manifest() -> None:
    module = runpy.run_path(str(REPOSITORY / "docs" / "write_schema.py"))
    committed = (REPOSITORY / "docs" / "manifest.schema.json").read_text(encoding="utf-8")
    # As values: versions of pydantic write 1 and 1.0.
    assert json.loads(committed) == json.loads(module["document"](manifest_schema())), (
        "run: python docs/write_schema.py"
    )


def test_a_bundle_of_schema_1_still_loads(bundle: Path) -> None:
    document = read(bundle)
    new = ("labels", "ignore_masks", "history", "search_facts", "torch_thresholds", "quantization", "sanity")
    for name in (*new, "compressed_weights"):
        document.pop(name, None)
    for golden in document["golden"]:
        del golden["torch_score"], golden["origin"]
    parity = ("device", "images", "max_score_deviation", "max_map_deviation", "verdict_flips", "score_limit", "passed")
    document["parity"] = {name: document["parity"][name] for name in parity}
    for name in ("bit_depth", "roi", "frame_size"):
        del document["preprocess"][name]
    del document["model"]["ignore_masks"]
    rewrite(bundle, {**document, "schema_version": 1})
    manifest = Bundle.load(bundle).manifest
    assert manifest.schema_version == 5
    assert manifest.labels.good == "Good"
    assert manifest.history == ()
    assert (manifest.preprocess.depth, manifest.preprocess.roi, manifest.model.ignore_masks) == (16, None, ())


@pytest.mark.parametrize("version", [0, 6, "2", None, True])
def test_an_unknown_schema_says_what_to_do(bundle: Path, version: object) -> None:
    rewrite(bundle, {**read(bundle), "schema_version": version})
    with pytest.raises(BundleError, match="update the runtime, or export again"):
        Bundle.load(bundle)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_does_not_have_are_refused(bundle: Path, number: str) -> None:
    text = (bundle / MANIFEST).read_text(encoding="utf-8")
    (bundle / MANIFEST).write_text(text.replace('"warn": null', f'"warn": {number}'), encoding="utf-8")
    with pytest.raises(BundleError, match="not valid JSON"):
        Bundle.load(bundle)


OUT_OF_BOUNDS: list[tuple[str, dict[str, Any]]] = [
    ("unknown key", {"extra": 1}),
    ("mask of two corners", {"ignore_masks": [[[0, 0], [1, 1]]]}),
    ("mask outside the frame", {"ignore_masks": [[[0, 0], [1.5, 0], [1, 1]]]}),
    ("too many masks", {"ignore_masks": [[[0, 0], [1, 0], [1, 1]]] * 101}),
    ("control character in a label", {"labels": {"good": "Go\x1bod", "anomalous": "Bad"}}),
    ("huge name", {"name": "x" * 2000}),
    ("no golden image", {"golden": []}),
    ("huge batch", {"batch": 10**9}),
    ("golden score of zero", {"golden": [{"file": "golden/0.png", "pred_score": 0, "tolerance": 0.1}]}),
    ("tolerance that tests nothing", {"golden": [{"file": "golden/0.png", "pred_score": 1, "tolerance": 9}]}),
    ("a path that leads out", {"files": {"../model.bin": {"bytes": 0, "sha256": "0" * 64}}}),
]


@pytest.mark.parametrize("change", [change for _, change in OUT_OF_BOUNDS], ids=[name for name, _ in OUT_OF_BOUNDS])
def test_what_is_out_of_bounds_is_refused(bundle: Path, change: dict[str, Any]) -> None:
    rewrite(bundle, {**read(bundle), **change})
    with pytest.raises(BundleError):
        Bundle.load(bundle)
