"""A bundle is untrusted input: whatever is in it, it is a bundle or it is refused with a sentence."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge_runtime import Bundle, BundleError
from patchcore_edge_runtime.bundle.bundle import MANIFEST, write_manifest
from patchcore_edge_runtime.bundle.manifest import SCHEMA_VERSION, manifest_digest

FUZZ = settings(max_examples=60)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def sign(bundle: Path, document: dict[str, Any]) -> None:
    """Write a manifest as someone would who knows how its digest is made."""
    text = json.dumps({**document, "digest": manifest_digest(document)}, ensure_ascii=False)
    (bundle / MANIFEST).write_text(text, encoding="utf-8", errors="surrogatepass")


@FUZZ
@given(data=st.data())
def test_any_value_anywhere_in_the_manifest(bundle: Path, tiny_bundle: Path, data: st.DataObject) -> None:
    document = json.loads((tiny_bundle / MANIFEST).read_text(encoding="utf-8"))
    document.pop("digest")
    *path, last = data.draw(st.sampled_from(places(document)[1:]))
    changed = copy.deepcopy(document)
    inner: Any = changed
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(VALUES)
    try:
        sign(bundle, changed)
    except ValueError:
        return  # NaN is no JSON, and no digest is made of it
    try:
        loaded = Bundle.load(bundle)
    except BundleError as error:
        is_sentence(error)
        return
    # What was taken means what it says: nothing was dropped, guessed or put in its place.
    found: Any = loaded.manifest.model_dump(mode="json")
    for key in (*path, last):
        found = found[key]
    assert means(inner[last], found) or (last, inner[last], found) in UPGRADED
    write_manifest(bundle, loaded.manifest)
    assert Bundle.load(bundle).manifest == loaded.manifest


def is_sentence(error: BundleError) -> None:
    said = str(error)
    assert len(said) > 20
    assert said.endswith(".")


UPGRADED = [("schema_version", version, SCHEMA_VERSION) for version in range(1, SCHEMA_VERSION)]


def means(written: Any, read: Any) -> bool:
    """Whether a value of the JSON was read as what it is; defaults may have joined it, and ``1`` is ``1.0``."""
    if isinstance(written, dict) and isinstance(read, dict):
        return all(key in read and means(value, read[key]) for key, value in written.items())
    if isinstance(written, list) and isinstance(read, list):
        return len(written) == len(read) and all(map(means, written, read))
    if isinstance(read, int | float) and isinstance(written, int | float):
        return written == read and isinstance(read, bool) is isinstance(written, bool)
    return bool(written == read and type(written) is type(read))


TRIANGLE = [[0, 0], [1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("name", "a part of ours"),
        ("ignore_masks", [[[0, 0], [1, 0], [0, 1]]]),
    ],
)
def test_a_value_that_can_be_is_taken_as_it_is(place: str, value: Any, bundle: Path) -> None:
    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    document.pop("digest")
    document[place] = value
    sign(bundle, document)
    assert means(value, Bundle.load(bundle).manifest.model_dump(mode="json")[place])


@FUZZ
@given(data=st.binary(max_size=200))
def test_any_bytes_for_a_manifest(bundle: Path, data: bytes) -> None:
    (bundle / MANIFEST).write_bytes(data)
    with pytest.raises(BundleError):
        Bundle.load(bundle)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", "golden/../../secret", "C:/secret", "a\\b", "golden//0.png", "./model.bin", "a\0b"],
)
def test_a_path_out_of_the_bundle_is_refused(name: str, bundle: Path) -> None:
    (bundle.parent / "secret").write_bytes(b"x")
    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    document.pop("digest")
    document["files"][name] = {"bytes": 1, "sha256": "0" * 64}
    sign(bundle, document)
    with pytest.raises(BundleError):
        Bundle.load(bundle)


def test_a_link_out_of_the_bundle_is_refused(bundle: Path, tiny_bundle: Path) -> None:
    (bundle / "model.bin").unlink()
    try:
        (bundle / "model.bin").symlink_to(tiny_bundle / "model.bin")
    except OSError:
        pytest.skip("this account may not make links")
    with pytest.raises(BundleError, match=r"model\.bin"):
        Bundle.load(bundle)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    for path in (tmp_path / "bundle.zip", tmp_path / "nowhere", tmp_path):
        with pytest.raises(BundleError, match="no bundle"):
            Bundle.load(path)


def test_a_manifest_nested_too_deeply_or_too_large_is_refused(bundle: Path) -> None:
    (bundle / MANIFEST).write_text("[" * 200_000)
    with pytest.raises(BundleError):
        Bundle.load(bundle)
    (bundle / MANIFEST).write_text(" " * (5 << 20))
    with pytest.raises(BundleError, match="larger"):
        Bundle.load(bundle)
