"""What `repository` writes, and that it writes it whole or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import openvino
import pytest
from conftest import run_cli

from patchcore_edge_runtime import Bundle, BundleError
from patchcore_edge_runtime.serving import model_repository
from patchcore_edge_runtime.serving.messages import DESCRIPTION
from patchcore_edge_runtime.serving.model_repository import write_repository
from patchcore_edge_runtime.serving.served_bundle import ServedBundle, pack

RUNTIME = "patchcore_edge_runtime"


def command(*words: object) -> tuple[int, str]:
    done = run_cli("repository", *words, program=RUNTIME)
    return done.returncode, done.stdout + done.stderr


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_version_folder_is_the_bundle_as_it_is(tiny_bundle: Path, tmp_path: Path) -> None:
    code, said = command(f"line3={tiny_bundle}", "-o", tmp_path / "repository")
    assert code == 0
    assert "line3 version 1" in said
    version = tmp_path / "repository/line3/1"
    assert files(version) == files(tiny_bundle)
    assert Bundle.load(version).digest == Bundle.load(tiny_bundle).digest


def test_what_vouches_for_a_manifest_goes_along(tiny_bundle: Path, tmp_path: Path) -> None:
    signed = tmp_path / "signed"
    shutil.copytree(tiny_bundle, signed)
    (signed / "manifest.json.sig").write_bytes(b"signature")
    (signed / "notes.txt").write_text("of nobody's business")
    write_repository([f"line3={signed}"], tmp_path / "repository")
    version = tmp_path / "repository/line3/1"
    assert (version / "manifest.json.sig").read_bytes() == b"signature"
    assert not (version / "notes.txt").exists()
    served = ServedBundle.unpack(pack(Bundle.load(signed)), "line3")
    assert served.contents["manifest.json.sig"] == b"signature"


def test_the_archive_model_answers_with_manifest_and_golden_images(tiny_bundle: Path, tmp_path: Path) -> None:
    write_repository([f"line3={tiny_bundle}"], tmp_path / "repository")
    compiled = openvino.Core().compile_model(tmp_path / "repository/line3-bundle/1/model.xml", "CPU")
    assert [port.any_name for port in (*compiled.inputs, *compiled.outputs)] == ["ask", "archive"]
    archive = compiled([np.zeros(1, np.uint8)])[0]
    bundle, served = Bundle.load(tiny_bundle), ServedBundle.unpack(archive.tobytes(), "line3")
    assert (served.manifest, served.digest) == (bundle.manifest, bundle.digest)
    for golden in bundle.manifest.golden:
        assert np.array_equal(served.golden_image(golden), bundle.golden_image(golden))


def test_the_same_bundles_give_the_same_bytes(tiny_bundle: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_repository([f"line3={tiny_bundle}"], tmp_path / name)
    assert files(tmp_path / "first") == files(tmp_path / "second")


def test_bundles_of_one_name_are_its_versions(tiny_bundle: Path, int8_bundle: Path, tmp_path: Path) -> None:
    code, said = command(f"a={tiny_bundle}", f"b={tiny_bundle}", f"a={int8_bundle}", "-o", tmp_path / "r")
    assert code == 0
    assert [line.split(":")[0] for line in said.splitlines()] == ["a version 1", "b version 1", "a version 2"]
    assert Bundle.load(tmp_path / "r/a/1").digest == Bundle.load(tiny_bundle).digest
    assert Bundle.load(tmp_path / "r/a/2").digest == Bundle.load(int8_bundle).digest


def test_a_bundle_without_a_name_has_its_models_own(tiny_bundle: Path, tmp_path: Path) -> None:
    assert command(tiny_bundle, "-o", tmp_path / "r")[0] == 0
    assert (tmp_path / "r" / Bundle.load(tiny_bundle).manifest.name / "1/model.xml").is_file()


def test_openvino_model_server_finds_each_model_computed_as_it_was_verified(tiny_bundle: Path, tmp_path: Path) -> None:
    write_repository([f"line3={tiny_bundle}"], tmp_path / "r", device="GPU")
    configs = [one["config"] for one in json.loads((tmp_path / "r/config.json").read_text())["model_config_list"]]
    assert {one["name"]: one["target_device"] for one in configs} == {"line3": "GPU", "line3-bundle": "CPU"}
    assert all((tmp_path / "r" / one["base_path"] / "1/model.xml").is_file() for one in configs)
    assert all(one["model_version_policy"] == {"all": {}} for one in configs)
    assert configs[0]["plugin_config"]["INFERENCE_PRECISION_HINT"] == "f32"


def test_triton_is_told_names_types_and_shapes_of_the_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    write_repository([f"line3={tiny_bundle}"], tmp_path / "r")
    text = (tmp_path / "r/line3/config.pbtxt").read_text()
    for said in (
        'name: "line3"',
        'backend: "openvino"',
        '"frame" data_type: TYPE_UINT8 dims: [ 1, 64, 64, 3 ]',
        '"pred_score" data_type: TYPE_FP32 dims: [ 1 ]',
        '"anomaly_map" data_type: TYPE_FP32 dims: [ 1, 1, 64, 64 ]',
    ):
        assert said in text
    assert 'name: "line3-bundle"' in (tmp_path / "r/line3-bundle/config.pbtxt").read_text()


def test_what_is_there_is_replaced_only_when_told_and_only_where_it_is_a_repository(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    target = tmp_path / "r"
    assert command(f"old={tiny_bundle}", "-o", target)[0] == 0
    code, said = command(f"new={tiny_bundle}", "-o", target)
    assert code == 2
    assert "--overwrite" in said
    assert (target / "old").is_dir()
    assert command(f"new={tiny_bundle}", "-o", target, "--overwrite")[0] == 0
    assert (target / "new").is_dir()
    assert not (target / "old").exists()
    other = tmp_path / "somebody else's"
    other.mkdir()
    (other / "config.json").write_text("{}")
    assert command(f"new={tiny_bundle}", "-o", other, "--overwrite")[0] == 2
    assert files(other) == {"config.json": b"{}"}


def test_a_repository_is_there_whole_or_not_at_all(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_repository.shutil, "copyfile", full)
    assert command(f"line3={tiny_bundle}", "-o", tmp_path / "r")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_that_is_not_whole_is_not_served(tiny_bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_bundle, broken)
    (broken / "model.bin").write_bytes(b"")
    code, said = command(f"line3={broken}", "-o", tmp_path / "r")
    assert code == 4
    assert "model.bin" in said
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("name", ["", "a b", "../a", "a/b", "line3-bundle", "x" * 200, ".hidden", "ä"])
def test_a_name_that_no_url_and_no_folder_takes_is_refused(name: str, tiny_bundle: Path, tmp_path: Path) -> None:
    code, said = command(f"{name}={tiny_bundle}", "-o", tmp_path / "r")
    assert code in (2, 4)
    assert said.startswith("error: ")
    assert not (tmp_path / "r").exists()


def test_two_versions_take_frames_of_one_size(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = iter([(1, (64, 64)), (1, (64, 96))])
    monkeypatch.setattr(model_repository, "_interface", lambda _: next(sizes))
    code, said = command(f"a={tiny_bundle}", f"a={tiny_bundle}", "-o", tmp_path / "r")
    assert code == 2
    assert "different sizes" in said


def test_an_archive_that_is_none_is_refused(tiny_bundle: Path) -> None:
    good = pack(Bundle.load(tiny_bundle))
    for wrong in (b"", b"PK", good[:-30], good[: len(good) // 2], good.replace(b"golden/0", b"golden/9")):
        with pytest.raises(BundleError):
            ServedBundle.unpack(wrong, "line3")


def test_the_protocol_that_is_read_is_the_one_that_is_written_down(tmp_path: Path) -> None:
    write_protocol = pytest.importorskip("grpc_tools.protoc", reason="needs protoc: pip install grpcio-tools")
    target, source = tmp_path / "description", DESCRIPTION.with_suffix(".proto")
    words = ["protoc", f"-I{source.parent}", f"--descriptor_set_out={target}", source.name]
    assert write_protocol.main(words) == 0
    assert target.read_bytes() == DESCRIPTION.read_bytes()
