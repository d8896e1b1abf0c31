"""A graph that no export made, its digests right: refused with a sentence, whatever it would compute."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from changed_graph import Change, named, signed, with_graph
from conftest import run_cli
from line_records import wait_for
from openvino import opset13 as ops

from patchcore_edge_runtime import Bundle, BundleError, DeviceError, Inspector, ParityError
from patchcore_edge_runtime.bundle.bundle import MANIFEST
from patchcore_edge_runtime.inspection import opened_backend
from patchcore_edge_runtime.inspection.graph_memory import peak_memory
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.inspection.self_test import self_test
from patchcore_edge_runtime.line.hot_swap import HotSwapper, bundle_stamp
from patchcore_edge_runtime.system import anything_hangs


def stateful(score: Any, anomaly_map: Any, _: Any) -> Any:
    """Honest until it has seen enough."""
    from openvino.op.util import Variable, VariableInfo

    info = VariableInfo()
    info.data_shape, info.data_type, info.variable_id = ov.PartialShape([1]), ov.Type.f32, "seen"
    variable = Variable(info)
    seen = ops.read_value(ops.constant(np.zeros(1, np.float32)), variable)
    more = ops.add(seen, ops.constant(np.ones(1, np.float32)))
    kept = ops.assign(more, variable)
    zero = ops.clamp(more, 0.0, 0.0)
    outputs = named(pred_score=ops.subtract(score, zero), anomaly_map=anomaly_map)
    return outputs, [kept], [_.get_node()], "stateful"


def looping(score: Any, anomaly_map: Any, _: Any) -> Any:
    """Two thousand million rounds."""
    inner = ops.parameter([1], np.float32)
    body = ov.Model([ops.result(ops.constant(True)), ops.result(ops.relu(inner))], [inner], "body")
    loop = ops.loop(ops.constant(np.int64(2**31)), ops.constant(True))
    loop.set_function(body)
    loop.set_special_body_ports([-1, 0])
    loop.set_merged_input(inner, score, body.get_results()[1].output(0))
    last = loop.get_iter_value(body.get_results()[1].output(0), -1)
    return named(pred_score=last, anomaly_map=anomaly_map)


def choosing(score: Any, anomaly_map: Any, frame: Any) -> Any:
    """One white pixel makes every part good."""
    pixel = ops.reduce_max(ops.convert(frame, "f32"), ops.constant([1, 2, 3]))
    trojan = ops.select(ops.equal(pixel, ops.constant(np.float32(254))), ops.constant(np.float32(0)), score)
    return named(pred_score=trojan, anomaly_map=anomaly_map)


@pytest.mark.parametrize(
    ("change", "operation"),
    [(stateful, "ReadValue"), (looping, "Loop"), (choosing, "Select")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_with_memory_loops_or_branches_is_refused_when_it_is_opened(
    change: Change, operation: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(BundleError, match=operation):
        Bundle.load(bundle)
    with pytest.raises(BundleError, match=operation):
        OpenVINOBackend(bundle / "model.xml", "CPU")
    done = run_cli("info", "-m", bundle, program="patchcore_edge_runtime")
    assert done.returncode == 4


def scalar(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=ops.squeeze(score, ops.constant([0])), anomaly_map=anomaly_map)


def without_a_map(score: Any, _: Any, __: Any) -> Any:
    return named(pred_score=score)


def without_a_score(_: Any, anomaly_map: Any, __: Any) -> Any:
    return named(anomaly_map=anomaly_map)


def of_other_names(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(score=score, map=anomaly_map)


def flat_map(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=score, anomaly_map=ops.squeeze(anomaly_map, ops.constant([1])))


def small_map(score: Any, anomaly_map: Any, _: Any) -> Any:
    smaller = ops.avg_pool(anomaly_map, [2, 2], [0, 0], [0, 0], [2, 2], False)
    return named(pred_score=score, anomaly_map=smaller)


def half_score(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=ops.convert(score, "f16"), anomaly_map=anomaly_map)


def another_input(score: Any, anomaly_map: Any, frame: Any) -> Any:
    more = ops.parameter([1], np.float32, name="more")
    return named(pred_score=ops.add(score, more), anomaly_map=anomaly_map), [], [frame.get_node(), more], "x"


def swapped(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=anomaly_map, anomaly_map=score)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (scalar, "pred_score"),
        (without_a_map, "anomaly_map"),
        (without_a_score, "pred_score"),
        (of_other_names, "pred_score"),
        (flat_map, "anomaly_map"),
        (small_map, "anomaly_map"),
        (half_score, "pred_score"),
        (another_input, "inputs"),
        (swapped, "pred_score"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_of_another_interface_is_refused(change: Change, said: str, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", change)
    words = ("predict", "-m", bundle, "-s", bundle / "golden" / "0.png", "-o", tmp_path / "out")
    done = run_cli(*words, program="patchcore_edge_runtime")
    assert done.returncode == 4, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_graph_of_another_size_or_batch_than_its_manifest_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(bundle).manifest
    signed(bundle, manifest.model_copy(update={"batch": 2}))
    with pytest.raises(BundleError, match="the manifest says"):
        Inspector(bundle)


def not_a_number(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=score, anomaly_map=ops.multiply(anomaly_map, ops.constant(np.float32("nan"))))


def one_of_nothing(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=score, anomaly_map=ops.multiply(anomaly_map, ops.constant(np.float32(0))))


def turned(score: Any, anomaly_map: Any, _: Any) -> Any:
    return named(pred_score=score, anomaly_map=ops.transpose(anomaly_map, ops.constant([0, 1, 3, 2])))


@pytest.mark.parametrize("change", [not_a_number, one_of_nothing, turned])
def test_a_wrong_map_behind_a_right_score_is_refused(change: Change, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(ParityError, match="map"):
        Inspector(bundle)


def without_golden_maps(bundle: Path) -> None:
    manifest = Bundle.load(bundle).manifest
    golden = tuple(image.model_copy(update={"anomaly_map": None}) for image in manifest.golden)
    signed(bundle, manifest.model_copy(update={"golden": golden}))


def test_a_bundle_from_before_golden_maps_loads_and_its_map_has_to_be_one(tiny_bundle: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(tiny_bundle, tmp_path / "old"))
    without_golden_maps(old)
    assert all(golden.anomaly_map is None for golden in Inspector(old).manifest.golden)
    broken = with_graph(tiny_bundle, tmp_path / "broken", not_a_number)
    without_golden_maps(broken)
    with pytest.raises(ParityError, match="no numbers"):
        Inspector(broken)


class Endless:
    """A backend whose inference ends when it is told to."""

    def __init__(self, inner: OpenVINOBackend) -> None:
        self.images, self.execution_devices = inner.images, inner.execution_devices
        self.cancelled = threading.Event()

    def infer(self, _: Any) -> Any:
        assert self.cancelled.wait(60)
        raise RuntimeError("cancelled")

    def cancel(self) -> None:
        self.cancelled.set()


def test_a_self_test_that_never_ends_is_given_up(tiny_bundle: Path) -> None:
    bundle = Bundle.load(tiny_bundle)
    backend = Endless(OpenVINOBackend(bundle.model_xml, "CPU"))
    with pytest.raises(BundleError, match=r"did not come to an end on CPU within 0\.2 s"):
        self_test(bundle, backend, "CPU", seconds=0.2)
    assert backend.cancelled.is_set()


BOMB = """<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<net name="&b;" version="11"><layers/></net>"""


@pytest.mark.parametrize("text", [BOMB, "<net><layers>", "", "PK\x03\x04", "<net>" * 100_000])
def test_a_topology_that_is_no_ir_is_refused(text: str, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(bundle).manifest
    (bundle / "model.xml").write_text(text)
    signed(bundle, manifest)
    with pytest.raises(BundleError, match="no IR"):
        Bundle.load(bundle)


def of_terabytes(score: Any, anomaly_map: Any, _: Any) -> Any:
    return _with_largest(score, anomaly_map, ops.broadcast(score, ops.constant([2**20, 2**20])))


def of_terabytes_of_constants(score: Any, anomaly_map: Any, _: Any) -> Any:
    """Computed while the graph is compiled."""
    one = ops.constant(np.ones(1, np.float32))
    return _with_largest(score, anomaly_map, ops.broadcast(one, ops.constant([2**20, 2**20])))


def of_many_gigabytes_together(score: Any, anomaly_map: Any, _: Any) -> Any:
    """None of them too large by itself."""
    parts = [ops.broadcast(ops.add(score, np.float32(n)), ops.constant([2**14, 2**15])) for n in range(500)]
    total = parts[0]
    # Each once more, when all have been computed.
    for part in (*parts[1:], *parts):
        total = ops.add(total, part)
    return _with_largest(score, anomaly_map, total)


def _with_largest(score: Any, anomaly_map: Any, tensor: Any) -> Any:
    nothing = ops.clamp(ops.reduce_max(tensor, ops.constant([0, 1])), 0.0, 0.0)
    return named(pred_score=ops.add(score, nothing), anomaly_map=anomaly_map)


@pytest.mark.parametrize("change", [of_terabytes, of_terabytes_of_constants, of_many_gigabytes_together])
def test_a_graph_that_asks_for_more_memory_than_there_is_is_refused_before_it_takes_it(
    change: Change, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(DeviceError, match=r"needs \d+\.\d GiB of memory at a time and \d+\.\d GiB are free"):
        Inspector(bundle)


def test_the_memory_of_an_export_is_what_it_holds_at_a_time(tiny_bundle: Path) -> None:
    model = ov.Core().read_model(tiny_bundle / "model.xml")
    needed = peak_memory(model, "model.xml")
    everything = sum(
        np.prod(list(port.get_shape())) * port.get_element_type().size
        for node in model.get_ordered_ops()
        for port in node.outputs()
    )
    assert (tiny_bundle / "model.bin").stat().st_size < needed < everything


def of_the_frames_size(score: Any, anomaly_map: Any, frame: Any) -> Any:
    """Small for golden images, and as large as a bright pixel says for another one."""
    brightest = ops.convert(ops.reduce_max(ops.convert(frame, "f32"), ops.constant([1, 2, 3])), "i64")
    many = ops.reduce_max(ops.broadcast(score, brightest), ops.constant([0]), keep_dims=True)
    return named(pred_score=ops.add(score, ops.clamp(many, 0.0, 0.0)), anomaly_map=anomaly_map)


def test_a_graph_whose_tensors_have_no_fixed_size_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", of_the_frames_size)
    with pytest.raises(BundleError, match="of no fixed size"):
        Inspector(bundle)


def _brightest(frame: Any, factor: int) -> Any:
    """A number that the frame says: it may be what golden images hold to."""
    level = ops.convert(ops.reduce_max(frame, ops.constant([1, 2, 3])), "i64")
    return ops.multiply(level, ops.constant(np.int64(factor)))


def writing_beyond(score: Any, anomaly_map: Any, frame: Any) -> Any:
    places = ops.broadcast(_brightest(frame, -1_000_000), ops.constant([16]))
    zeros = ops.constant(np.zeros(64, np.float32))
    written = ops.scatter_elements_update(zeros, places, ops.broadcast(score, ops.constant([16])), np.int64(0))
    return _with(score, anomaly_map, ops.reduce_max(written, ops.constant([0]), keep_dims=True))


def writing_beyond_by_a_constant(score: Any, anomaly_map: Any, _: Any) -> Any:
    zeros, place = ops.constant(np.zeros(64, np.float32)), ops.constant(np.int64([64]))
    written = ops.scatter_elements_update(zeros, place, score, np.int64(0))
    return _with(score, anomaly_map, ops.reduce_max(written, ops.constant([0]), keep_dims=True))


def writing_where_the_score_says(score: Any, anomaly_map: Any, _: Any) -> Any:
    zeros = ops.constant(np.zeros(64, np.float32))
    written = ops.scatter_elements_update(zeros, ops.convert(score, "i64"), score, np.int64(0))
    return _with(score, anomaly_map, ops.reduce_max(written, ops.constant([0]), keep_dims=True))


def reading_beyond(score: Any, anomaly_map: Any, frame: Any) -> Any:
    places = ops.broadcast(ops.reshape(_brightest(frame, 10_000_000), ops.constant([1, 1]), False), [8, 2])
    read = ops.gather_nd(ops.constant(np.zeros((8, 8), np.float32)), places)
    return _with(score, anomaly_map, ops.reduce_max(read, ops.constant([0]), keep_dims=True))


def reading_beyond_a_shorter_side(score: Any, anomaly_map: Any, _: Any) -> Any:
    """The largest of a longer tensor's places."""
    pixels = ops.reshape(anomaly_map, ops.constant([1, -1]), False)
    places = ops.topk(pixels, ops.constant(np.int64(8)), 1, "max", "value").output(1)
    read = ops.gather_elements(ops.constant(np.zeros((1, 8), np.float32)), places, 1)
    return _with(score, anomaly_map, ops.reshape(ops.reduce_max(read, ops.constant([1])), ops.constant([1]), False))


def _with(score: Any, anomaly_map: Any, number: Any) -> Any:
    return named(pred_score=ops.add(score, ops.clamp(number, 0.0, 0.0)), anomaly_map=anomaly_map)


@pytest.mark.parametrize(
    ("change", "operation"),
    [
        (writing_beyond, "ScatterElementsUpdate"),
        (writing_beyond_by_a_constant, "ScatterElementsUpdate"),
        (writing_where_the_score_says, "ScatterElementsUpdate"),
        (reading_beyond, "GatherND"),
        (reading_beyond_a_shorter_side, "GatherElements"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_graph_that_may_reach_beyond_its_tensors_is_refused(
    change: Change, operation: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    """It ended the process, the line's while it ran."""
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", change)
    with pytest.raises(BundleError, match=f"a {operation} that may reach beyond its tensor"):
        Inspector(bundle)


def test_a_graph_that_is_compiled_without_end_is_given_up(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(opened_backend, "_OPEN_SECONDS", 0.2)
    monkeypatch.setattr("patchcore_edge_runtime.system._CANCEL_SECONDS", 0.01)
    monkeypatch.setattr(opened_backend, "OpenVINOBackend", lambda *_: over.wait(60))
    with pytest.raises(BundleError, match=r"not ready on CPU within 0\.2 s"):
        Inspector(tiny_bundle)
    assert anything_hangs()
    over.set()
    wait_for(lambda: not anything_hangs())


def set_in_both(bundle: Path, **limits: float) -> None:
    """Thresholds changed in all places that have them, but without a word of it in the history."""
    from patchcore_edge_runtime.bundle.model_info import rewrite_model_info

    manifest = Bundle.load(bundle).manifest
    thresholds = manifest.thresholds.model_copy(update=limits)
    rewrite_model_info(bundle / "model.xml", thresholds, manifest.labels)
    signed(bundle, manifest.model_copy(update={"thresholds": thresholds}))


@pytest.mark.parametrize(
    "limits", [{"image": 1e9}, {"pixel": 1e9}, {"image": 1e9, "pixel": 1e9}, {"image": 1e-9}, {"pixel": 1e-9}]
)
def test_thresholds_that_the_calibration_did_not_give_are_refused(
    limits: dict[str, float], tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    set_in_both(bundle, **limits)
    with pytest.raises(BundleError, match="contradicts itself"):
        Bundle.load(bundle)


def test_thresholds_that_a_changed_calibration_gives_are_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    for highest in (1e9, 0.0, -1.0):
        bundle = Path(shutil.copytree(tiny_bundle, tmp_path / f"{highest}"))
        set_in_both(bundle, image=1e9, pixel=1e9)

        def forge(document: dict[str, Any], highest: float = highest) -> None:
            document["calibration"]["scores"] = {"min": min(0.0, highest), "median": min(0.0, highest), "max": highest}
            document["torch_thresholds"] = None

        with_value(bundle, forge)
        with pytest.raises(BundleError, match="contradicts itself"):
            Bundle.load(bundle)


@pytest.mark.parametrize("name", ["image", "pixel"])
def test_a_threshold_in_the_manifest_alone_is_refused(name: str, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    manifest = Bundle.load(bundle).manifest
    limits = manifest.thresholds.model_copy(update={name: getattr(manifest.thresholds, name) * 1.01})
    signed(bundle, manifest.model_copy(update={"thresholds": limits}))
    with pytest.raises(BundleError, match=f"{name} threshold"):
        Bundle.load(bundle)


def test_an_edit_is_the_way_and_its_history_has_to_be_whole(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    for limits in (("--image-threshold", 1000, "--pixel-threshold", 1e-6), ("--image-threshold", 7)):
        assert run_cli("edit", bundle, "--by", "Ada", *limits, program="patchcore_edge_runtime").returncode == 0
    manifest = Bundle.load(bundle).manifest
    assert manifest.thresholds.image == 7
    for kept in (manifest.history[:-1], manifest.history[2:], ()):
        signed(bundle, manifest.model_copy(update={"history": kept}))
        with pytest.raises(BundleError, match="contradicts itself"):
            Bundle.load(bundle)


def with_value(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    from patchcore_edge_runtime.bundle.manifest import manifest_digest

    document = json.loads((bundle / MANIFEST).read_text(encoding="utf-8"))
    document.pop("digest")
    change(document)
    document["digest"] = manifest_digest(document)
    (bundle / MANIFEST).write_text(json.dumps(document), encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["thresholds"].update(image=str(m["thresholds"]["image"])),
        lambda m: m["calibration"].update(n=str(m["calibration"]["n"])),
        lambda m: m["calibration"].update(n=float(m["calibration"]["n"])),
        lambda m: m["parity"].update(passed="yes"),
        lambda m: m["parity"].update(passed=1),
        lambda m: m.update(batch=True),
        lambda m: m.update(name="discs\x1b[2J"),
        lambda m: m.update(name="two\nlines"),
        lambda m: m.update(name="turned\u202eround"),
        lambda m: m["labels"].update(good="\u202eKO"),
        lambda m: m["labels"].update(anomalous="NG\x85"),
        lambda m: m.update(name=""),
        lambda m: m.update(name="x" * 201),
        lambda m: m["calibration"].update(warnings=["\x07"]),
        lambda m: m["tools"].update({"torch": "2\r\n3"}),
        lambda m: m["files"].update({"x" * 999: {"bytes": 1, "sha256": "0" * 64}}),
        lambda m: m["golden"][0]["anomaly_map"].update(cells=[[1.0], [1.0, 2.0]]),
    ],
)
def test_the_manifest_means_what_its_schema_says(
    change: Callable[[dict[str, Any]], None], tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    with_value(bundle, change)
    done = run_cli("info", "-m", bundle, program="patchcore_edge_runtime")
    assert done.returncode == 4
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_no_folder_of_the_training_machine_is_shown(tiny_bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    assert str(tiny_data.parent) not in (tiny_bundle / MANIFEST).read_text(encoding="utf-8")
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    for data in ("/home/ada/secret project/discs", r"C:\Users\ada\discs", "discs"):
        with_value(bundle, lambda m, data=data: m["calibration"].update(data=data))
        done = run_cli("info", "-m", bundle, program="patchcore_edge_runtime")
        assert json.loads(done.stdout)["calibration"]["data"] == "discs"


@pytest.mark.parametrize("error", [IndexError("too many indices"), ZeroDivisionError(), MemoryError(), KeyError("x")])
def test_nothing_that_a_bundle_throws_ends_the_watch(error: Exception, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    inspector = Inspector(tiny_bundle)
    bad = True

    def build(_: Path) -> Inspector:
        if bad:
            raise error
        return inspector

    with closing(HotSwapper(bundle, bundle_stamp(bundle), build, poll_seconds=0.02)) as swapper:
        os.utime(bundle / MANIFEST, ns=(1, 1))
        wait_for(lambda: "goes on" in swapper.message)
        bad = False
        os.utime(bundle / MANIFEST, ns=(2, 2))
        wait_for(lambda: "Changed to" in swapper.message)
        assert swapper.poll() is inspector


def test_a_graph_of_another_interface_is_not_swapped_in(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = with_graph(tiny_bundle, tmp_path / "bundle", scalar)
    with closing(HotSwapper(tiny_bundle, bundle_stamp(tiny_bundle), Inspector, poll_seconds=60)) as swapper:
        assert not swapper.request(bundle)
        assert "pred_score" in swapper.message
        assert swapper.request(tiny_bundle)
