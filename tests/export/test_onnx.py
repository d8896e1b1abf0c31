"""The ONNX file: valid, static, the same in ONNX Runtime, silent about where it was made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from patchcore_edge.models import Patchcore
from patchcore_edge_export.convert.onnx import PROTOBUF_LIMIT, export_onnx
from patchcore_edge_export.convert.openvino import convert
from patchcore_edge_export.gate.onnx_backend import ONNXRuntimeBackend
from patchcore_edge_export.graph.edge_model import EdgeModel
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.inspection.backend import Backend
from patchcore_edge_runtime.inspection.openvino_backend import OpenVINOBackend
from patchcore_edge_runtime.verdict import Thresholds

SIZE = (64, 64)


@pytest.fixture(scope="module")
def file(fitted: Patchcore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(EdgeModel(fitted), path, 2, SIZE)
    return path


def test_onnx_runtime_scores_as_torch_does(file: Path, fitted: Patchcore, images: list[Image]) -> None:
    frames = np.stack(images[:2])
    score, anomaly_map = ONNXRuntimeBackend(file).infer(frames)
    expected = fitted(torch.from_numpy(frames))
    np.testing.assert_allclose(score, expected.pred_score, rtol=1e-4)
    np.testing.assert_allclose(anomaly_map, expected.anomaly_map, rtol=1e-3, atol=1e-4)


def test_the_file_is_static_and_stands_alone_below_the_limit(file: Path) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    (frame,) = model.graph.input
    assert [dim.dim_value for dim in frame.type.tensor_type.shape.dim] == [2, *SIZE, 3]
    assert frame.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [output.name for output in model.graph.output] == ["pred_score", "anomaly_map"]
    assert [path.name for path in file.parent.iterdir()] == ["model.onnx"]


def test_weights_above_the_limit_of_a_protobuf_go_beside_it_and_load(
    fitted: Patchcore, images: list[Image], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export_onnx(EdgeModel(fitted), path, 1, SIZE, protobuf_limit=1 << 20)
    assert path.stat().st_size < 1 << 20
    assert (tmp_path / "model.onnx.data").stat().st_size > 1 << 20
    score, _ = ONNXRuntimeBackend(path).infer(images[0][None])
    np.testing.assert_allclose(score, fitted(torch.from_numpy(images[0])[None]).pred_score, rtol=1e-4)


def test_the_limit_is_that_of_a_protobuf() -> None:
    assert PROTOBUF_LIMIT < onnx.checker.MAXIMUM_PROTOBUF


def test_no_path_of_the_exporting_machine_is_in_the_file(file: Path) -> None:
    content = file.read_bytes()
    assert b".py" not in content
    assert str(Path(torch.__file__).parent).encode() not in content


def test_the_same_model_gives_the_same_bytes(file: Path, fitted: Patchcore, tmp_path: Path) -> None:
    again = tmp_path / "model.onnx"
    export_onnx(EdgeModel(fitted), again, 2, SIZE)
    assert again.read_bytes() == file.read_bytes()


def test_onnx_runtime_is_a_backend_as_openvino_is(file: Path, images: list[Image], tmp_path: Path) -> None:
    convert(file, tmp_path / "model.xml", Thresholds(image=1.0, pixel=1.0), compress_to_fp16=False)
    backends: list[Backend] = [ONNXRuntimeBackend(file), OpenVINOBackend(tmp_path / "model.xml", "CPU")]
    scores = []
    for backend in backends:
        assert (backend.images.shape, backend.images.dtype) == ((2, *SIZE, 3), np.uint8)
        assert backend.execution_devices == ["CPU"]
        # One image fills the batch; a batch may also be written to where the backend reads it.
        score, anomaly_map = (value.copy() for value in backend.infer(images[0][None]))
        assert score[0] == score[1]
        assert anomaly_map.shape == (2, 1, *SIZE)
        backend.images[...] = np.stack([images[1], images[0]])
        again, _ = backend.infer(backend.images)
        assert again[1] == score[0] != again[0]
        scores.append(again.copy())
    np.testing.assert_allclose(*scores, rtol=1e-4)
