"""Half precision is for what takes space: large weights, whatever else is in the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13

from patchcore_edge_export.convert.openvino import save


def _model(*, in_8_bits: bool) -> ov.Model:
    """512 numbers times a large matrix, plus a bias, times a small matrix."""
    rng = np.random.default_rng(0)
    large, small = rng.standard_normal((512, 512), np.float32), rng.standard_normal((512, 8), np.float32)
    frame = opset13.parameter([1, 512], np.float32)
    weights = opset13.constant(large)
    if in_8_bits:
        low, high = (opset13.constant(np.float32(end)) for end in (-4, 4))
        weights = opset13.fake_quantize(weights, low, high, low, high, 256)
    found = opset13.add(opset13.matmul(frame, weights, False, False), opset13.constant(large[:1]))
    if in_8_bits:
        found = opset13.matmul(found, opset13.constant(large), False, False)
    return ov.Model([opset13.result(opset13.matmul(found, opset13.constant(small), False, False))], [frame])


def _stored(xml: Path) -> dict[tuple[int, ...], set[str]]:
    kinds: dict[tuple[int, ...], set[str]] = {}
    for node in ov.Core().read_model(xml).get_ops():
        if node.get_type_name() == "Constant":
            kinds.setdefault(tuple(node.get_output_shape(0)), set()).add(node.get_element_type().get_type_name())
    return kinds


@pytest.mark.parametrize("in_8_bits", [False, True])
def test_large_weights_are_halved_and_biases_and_small_ones_are_not(tmp_path: Path, in_8_bits: bool) -> None:
    save(_model(in_8_bits=in_8_bits), tmp_path / "model.xml", compress_to_fp16=True)
    stored = _stored(tmp_path / "model.xml")
    assert stored[(512, 512)] == {"f16"}
    assert stored[(1, 512)] == {"f32"}
    assert stored[(512, 8)] == {"f32"}


def test_a_halved_graph_computes_in_float(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).standard_normal((1, 512)).astype(np.float32)
    answers = []
    for halved in (False, True):
        xml = tmp_path / f"{halved}.xml"
        save(_model(in_8_bits=False), xml, compress_to_fp16=halved)
        compiled = ov.compile_model(xml, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        answers.append(compiled(frame)[0])
    assert not np.array_equal(*answers)
    np.testing.assert_allclose(*answers, rtol=1e-2, atol=1.0)
