"""What may be changed after export: thresholds, labels and masks, with a record, and the bundle stays whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from conftest import run_cli

from patchcore_edge_runtime import Inspector
from patchcore_edge_runtime.bundle.bundle import MANIFEST, MODEL_BIN, MODEL_XML, Bundle
from patchcore_edge_runtime.bundle.edit import BundleEdit, edit_bundle
from patchcore_edge_runtime.errors import BundleError, ConfigError
from patchcore_edge_runtime.images.files import read_image
from patchcore_edge_runtime.images.geometry import parse_polygon
from patchcore_edge_runtime.line.loop import inspect_frame
from patchcore_edge_runtime.sources import Frame

EVERYWHERE = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def model_info(bundle: Path, key: str) -> str:
    return str(ov.Core().read_model(bundle / MODEL_XML).get_rt_info(["model_info", key]).astype(str))


def test_thresholds_change_in_manifest_and_graph_and_are_recorded(bundle: Path, tiny_bundle: Path) -> None:
    before = Bundle.load(bundle).manifest
    edit_bundle(bundle, BundleEdit(image=before.thresholds.image * 2, warn=before.thresholds.image), "Ada")
    manifest = Bundle.load(bundle).manifest
    assert manifest.thresholds.image == before.thresholds.image * 2
    assert manifest.thresholds.pixel == before.thresholds.pixel
    assert float(model_info(bundle, "image_threshold")) == manifest.thresholds.image
    assert float(model_info(bundle, "normalization_scale")) == 2 * manifest.thresholds.image
    assert [(edit.by, edit.field, edit.before, edit.after) for edit in manifest.history] == [
        ("Ada", "thresholds.image", before.thresholds.image, before.thresholds.image * 2),
        ("Ada", "thresholds.warn", None, before.thresholds.image),
    ]
    assert manifest.model_id == before.model_id
    assert (bundle / MODEL_BIN).read_bytes() == (tiny_bundle / MODEL_BIN).read_bytes()


def test_a_record_names_the_manifest_that_judged(bundle: Path, tiny_data: Path) -> None:
    frame = Frame(0, "a.png", read_image(tiny_data / "test" / "good" / "000.png"), 0.0)
    before = inspect_frame(Inspector(bundle), frame).to_dict()
    assert before["manifest"] == json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["digest"]
    edit_bundle(bundle, BundleEdit(image=before["threshold"] * 2), "Ada")
    after = inspect_frame(Inspector(bundle), frame).to_dict()
    assert after["manifest"] == json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))["digest"]
    assert after["manifest"] != before["manifest"], "the weights are the same, and what judges is not"
    assert after["model_id"] == before["model_id"]


def test_an_edited_bundle_runs_and_a_second_edit_adds_to_the_history(bundle: Path, tiny_data: Path) -> None:
    defect = read_image(tiny_data / "test" / "scratch" / "000.png")
    assert Inspector(bundle)(defect).verdict == "NG"
    score = Inspector(bundle)(defect).pred_score
    edit_bundle(bundle, BundleEdit(image=score * 1.1), "Ada")
    assert Inspector(bundle)(defect).verdict == "OK"
    manifest, added = edit_bundle(bundle, BundleEdit(labels=("Gut", "Nicht <gut>")), "Bo")
    assert [edit.field for edit in manifest.history] == ["thresholds.image", "labels"]
    assert [edit.by for edit in added] == ["Bo"]
    assert model_info(bundle, "labels") == "Gut Nicht_<gut>"
    assert Inspector(bundle)(defect).label == "Gut"


def test_a_mask_of_the_bundle_hides_what_is_in_it(bundle: Path, tiny_data: Path) -> None:
    edit_bundle(bundle, BundleEdit(ignore_masks=(EVERYWHERE,)), "Ada")
    result = Inspector(bundle)(read_image(tiny_data / "test" / "scratch" / "000.png"))
    assert result.verdict == "ERROR"  # nothing is left to inspect, and that is no OK
    edit_bundle(bundle, BundleEdit(ignore_masks=()), "Ada")
    assert Inspector(bundle)(read_image(tiny_data / "test" / "scratch" / "000.png")).verdict == "NG"


@pytest.mark.parametrize(
    "edit",
    [
        BundleEdit(),
        BundleEdit(labels=("Good", "Anomaly")),
        BundleEdit(image=-1.0),
        BundleEdit(image=float("nan")),
        BundleEdit(warn=1e9),
        BundleEdit(labels=("", "Bad")),
        BundleEdit(ignore_masks=(EVERYWHERE[:2],)),
    ],
    ids=["nothing", "no difference", "negative", "not a number", "WARN above NG", "empty label", "two corners"],
)
def test_an_edit_that_cannot_be_leaves_the_bundle_as_it_was(bundle: Path, edit: BundleEdit) -> None:
    before = contents(bundle)
    with pytest.raises(ConfigError):
        edit_bundle(bundle, edit, "Ada")
    assert contents(bundle) == before


def test_a_damaged_bundle_is_not_edited(bundle: Path) -> None:
    weights = np.fromfile(bundle / MODEL_BIN, np.uint8)
    weights[100] ^= 1
    weights.tofile(bundle / MODEL_BIN)
    with pytest.raises(BundleError, match=r"model\.bin"):
        edit_bundle(bundle, BundleEdit(image=1.0), "Ada")


@pytest.mark.parametrize("text", ["", "0,0 1,1", "0,0 1,1 2,2", "0,0 1,1 a,b", "0,0,0 1,1,1 0,1,1", "nan,0 1,1 0,1"])
def test_a_mask_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="three or more corners"):
        parse_polygon(text)


def test_the_edit_command_says_what_it_changed(bundle: Path) -> None:
    words = ("edit", bundle, "--by", "Ada", "--pixel-threshold", 3, "--ignore-mask", "0,0 0.5,0 0.5,0.5")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert "thresholds.pixel" in done.stdout
    assert Bundle.load(bundle).manifest.ignore_masks == (((0.0, 0.0), (0.5, 0.0), (0.5, 0.5)),)
    assert run_cli("edit", bundle, "--by", "Ada", program="patchcore_edge_runtime").returncode == 2


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (1e30, "No good part of the calibration scores so high; of drawn defects fewer than "),
        (1, " of new good parts to be NG, and at least "),
        (1e-9, "Expect more than "),
    ],
)
def test_an_edit_says_what_another_threshold_does_to_good_parts_and_defects(
    bundle: Path, place: float, said: str
) -> None:
    points = Bundle.load(bundle).manifest.calibration.trade_off
    between = (points[0].threshold + points[-1].threshold) / 2
    words = ("edit", bundle, "--by", "Ada", "--image-threshold", place * between)
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 0, done.stderr
    assert "it was calibrated to" in done.stdout
    assert said in done.stdout


def test_a_line_with_a_threshold_of_its_own_says_what_that_does(bundle: Path, tiny_data: Path) -> None:
    source = next((tiny_data / "test" / "good").iterdir())
    words = ("run", "-m", bundle, "-s", source, "--threshold")
    own = run_cli(*words, Bundle.load(bundle).manifest.thresholds.image, program="patchcore_edge_runtime")
    high = run_cli(*words, 1000, program="patchcore_edge_runtime")
    said = "No good part of the calibration scores so high"
    assert (said in own.stdout + own.stderr, said in high.stdout + high.stderr) == (False, True)


def test_masks_that_leave_nothing_are_refused_before_the_line_stands_still(bundle: Path) -> None:
    before = contents(bundle)
    halves = ("--ignore-mask", "0,0 1,0 1,0.5 0,0.5", "--ignore-mask", "0,0.5 1,0.5 1,1 0,1")
    done = run_cli("edit", bundle, "--by", "Ada", *halves, program="patchcore_edge_runtime")
    assert done.returncode == 2
    assert "leave nothing of the frame to inspect" in done.stderr
    assert contents(bundle) == before
