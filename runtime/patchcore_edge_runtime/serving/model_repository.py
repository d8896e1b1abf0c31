"""Bundles as a folder that model servers load: OpenVINO Model Server, Triton, and others that speak KServe v2."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..atomic_folder import atomic_folder
from ..bundle.bundle import Bundle
from ..bundle.graph_ports import FRAME, MAP, SCORE
from ..errors import ConfigError, cannot_read
from .served_bundle import archive_name, manifest_files, pack, write_archive_model
from .settings import is_model_name

__all__ = ["CONTENTS", "ModelVersion", "write_repository"]

CONTENTS = "patchcore-edge.json"
"""Says what is in a repository, and that the folder is one of ours."""


@dataclass(frozen=True)
class ModelVersion:
    """A bundle under the name and in the version that a server gives it."""

    name: str
    version: int
    bundle: Bundle


def write_repository(
    bundles: Sequence[str], target: Path, *, device: str = "CPU", overwrite: bool = False
) -> list[ModelVersion]:
    """Write a model repository, whole or not at all.

    Args:
        bundles: folders, as ``FOLDER`` or ``NAME=FOLDER``; without a name it is the model's own. Bundles of one name
            are its versions 1, 2 … in this order.
        target: folder to write.
        device: that the server is told to use, as OpenVINO names it.
        overwrite: replace an earlier repository there.

    Returns:
        what is in it.

    Raises:
        BundleError: a bundle is not whole.
        ConfigError: a name cannot be used, or ``target`` is there.
        CheckpointError: ``target`` is something else, or cannot be written.
    """
    if not bundles:
        raise ConfigError("There is no bundle to serve; give one or more folders that `export` wrote.")
    if not overwrite and target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already; choose another place, or replace it with --overwrite.")
    found = _numbered([_named(text) for text in bundles])
    with atomic_folder(target, CONTENTS) as folder:
        for one in found:
            _write_version(folder, one)
        names = {one.name: one.bundle for one in found}
        for name, bundle in names.items():
            (folder / name / "config.pbtxt").write_text(_triton_model(name, bundle), encoding="utf-8")
            archive = archive_name(name)
            (folder / archive / "config.pbtxt").write_text(_triton_archive(archive), encoding="utf-8")
        _write_json(folder / "config.json", _openvino_model_server(names, device))
        _write_json(folder / CONTENTS, {"models": [_facts(one) for one in found]})
    return found


def _named(text: str) -> tuple[str, Bundle]:
    name, given, folder = text.rpartition("=")
    # A folder whose own name has a = in it is a folder.
    own = not given or Path(text).exists()
    bundle = Bundle.load(text if own else folder)
    if own:
        name, folder = re.sub(r"[^A-Za-z0-9._-]+", "-", bundle.manifest.name).strip(".-_"), text
    if not is_model_name(name) or name.endswith(archive_name("")):
        raise ConfigError(
            f"{name[:60]!r} is no name for a model; give one as NAME={folder}, of letters, digits, '.', '_' and '-', "
            f"that does not end in {archive_name('')}."
        )
    return name, bundle


def _numbered(named: Sequence[tuple[str, Bundle]]) -> list[ModelVersion]:
    seen: dict[str, int] = {}
    found: list[ModelVersion] = []
    for name, bundle in named:
        first = next((one for one in found if one.name == name), None)
        if first is not None and _interface(first.bundle) != _interface(bundle):
            raise ConfigError(
                f"{first.bundle.path} and {bundle.path} are both called {name} and take frames of different sizes, "
                "which no two versions of a model may; give one of them another name as NAME=FOLDER."
            )
        seen[name] = seen.get(name, 0) + 1
        found.append(ModelVersion(name, seen[name], bundle))
    return found


def _interface(bundle: Bundle) -> tuple[int, tuple[int, int]]:
    return bundle.manifest.batch, bundle.manifest.preprocess.input_size


def _write_version(folder: Path, one: ModelVersion) -> None:
    """The bundle as it is: whoever has the server's folder has the bundle, with all that vouches for it."""
    place = folder / one.name / str(one.version)
    for name in (*one.bundle.manifest.files, *manifest_files(one.bundle)):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(one.bundle.path / name, place / name)
        except OSError as error:
            raise cannot_read(error.filename or name, error) from None
    Bundle.load(place)
    archive = folder / archive_name(one.name) / str(one.version)
    archive.mkdir(parents=True)
    write_archive_model(pack(one.bundle), archive)


def _openvino_model_server(names: Mapping[str, Bundle], device: str) -> dict[str, Any]:
    """``config.json`` of OpenVINO Model Server; paths are relative to it."""
    # As the bundle was verified; requests side by side, as many lines ask at the same time.
    precise = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    everything: dict[str, Any] = {"model_version_policy": {"all": {}}}
    models = [
        {"name": name, "base_path": name, "target_device": device, "plugin_config": precise, **everything}
        for name in names
    ]
    archives = [
        {"name": archive_name(name), "base_path": archive_name(name), "target_device": "CPU", **everything}
        for name in names
    ]
    return {"model_config_list": [{"config": config} for config in (*models, *archives)]}


def _triton_model(name: str, bundle: Bundle) -> str:
    batch, (height, width) = _interface(bundle)
    ports = [
        f'input [ {{ name: "{FRAME}" data_type: TYPE_UINT8 dims: [ {batch}, {height}, {width}, 3 ] }} ]',
        f'output [ {{ name: "{SCORE}" data_type: TYPE_FP32 dims: [ {batch} ] }},',
        f'         {{ name: "{MAP}" data_type: TYPE_FP32 dims: [ {batch}, 1, {height}, {width} ] }} ]',
    ]
    return _triton(name, ports)


def _triton_archive(name: str) -> str:
    ports = [
        'input [ { name: "ask" data_type: TYPE_UINT8 dims: [ 1 ] } ]',
        'output [ { name: "archive" data_type: TYPE_UINT8 dims: [ -1 ] } ]',
    ]
    return _triton(name, ports)


def _triton(name: str, ports: Sequence[str]) -> str:
    """``config.pbtxt``; ``max_batch_size`` is 0 because a batch is in the graph, and of fixed size."""
    head = [f'name: "{name}"', 'backend: "openvino"', "max_batch_size: 0"]
    tail = ["version_policy: { all { } }", "instance_group [ { kind: KIND_CPU } ]"]
    return "\n".join([*head, *ports, *tail]) + "\n"


def _facts(one: ModelVersion) -> dict[str, Any]:
    manifest = one.bundle.manifest
    return {
        "name": one.name,
        "version": one.version,
        "model_id": manifest.model_id,
        "manifest": one.bundle.digest,
        "input": [manifest.batch, *manifest.preprocess.input_size, 3],
    }


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
