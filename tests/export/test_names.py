"""Constants of the IR that mean something are found by name, and replaced, as docs/bundle.md promises."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
import torch
from conftest import REPOSITORY
from numpy.typing import NDArray

from patchcore_edge.models import Patchcore
from patchcore_edge_export.build import GraphOptions
from patchcore_edge_export.bundle import export_bundle
from patchcore_edge_runtime.bundle.bundle import MODEL_XML
from patchcore_edge_runtime.images.preprocess import Image

EXACT = {"bank", "bank_bias", "minus_center", "neighborhoods"}


def constants(model: ov.Model) -> dict[str, ov.Node]:
    """What is named, by its name; the same name twice would be a mistake."""
    named = [node for node in model.get_ops() if node.get_friendly_name().startswith("patchcore/")]
    named = [node for node in named if node.get_type_name() == "Constant"]
    found = {node.get_friendly_name().removeprefix("patchcore/"): node for node in named}
    assert len(found) == len(named)
    return found


def of_bank(bank: NDArray[np.float32], neighbors: int) -> dict[str, NDArray[np.generic]]:
    """As docs/bundle.md says, without torch."""
    center = bank.mean(0)
    centred = bank - center
    apart = np.linalg.norm(centred[:, None] - centred[None], axis=2)
    np.fill_diagonal(apart, -1)  # itself first, even where two are equal
    return {
        "bank": centred,
        "bank_bias": -0.5 * (centred * centred).sum(1)[None, None],
        "minus_center": -center[None, None],
        "neighborhoods": np.argsort(apart, axis=1, kind="stable")[:, :neighbors].astype(np.int64),
    }


def read(bundle: Path) -> ov.Model:
    return ov.Core().read_model(bundle / MODEL_XML)


def other_bank(fitted: Patchcore) -> Patchcore:
    other = copy.deepcopy(fitted)
    bank = other.model.memory_bank
    generator = torch.Generator().manual_seed(3)
    other.model.memory_bank = bank.flip(0) * 0.8 + 0.3 * bank.std() * torch.randn(bank.shape, generator=generator)
    return other


def test_the_exact_graph_holds_the_bank_as_the_page_says(tiny_bundle: Path, fitted: Patchcore) -> None:
    found = constants(read(tiny_bundle))
    assert set(found) == EXACT
    for name, value in of_bank(fitted.model.memory_bank.numpy(), fitted.model.num_neighbors).items():
        if name != "neighborhoods":
            np.testing.assert_allclose(found[name].data, value, rtol=1e-4, atol=1e-5)


def test_the_fast_graph_names_its_coarse_space_too(fast_bundle: Path, fitted: Patchcore) -> None:
    found = constants(read(fast_bundle))
    kinds = {name.partition("/")[0] for name in found}
    assert kinds >= {"bank", "minus_center", "neighborhoods", "projection", "points", "point_bias"}
    size, dimension = fitted.model.memory_bank.shape
    assert list(found["bank"].get_output_shape(0)) == [size, dimension]
    points = [node for name, node in found.items() if name.startswith("points/")]
    assert sum(node.get_output_shape(0)[0] for node in points) == size
    assert {node.get_element_type().get_type_name() for node in points} == {"i8"}
    assert found["projection"].get_output_shape(0)[1] == dimension


@pytest.mark.parametrize("options", [GraphOptions(precision="fp16"), GraphOptions(compress_weights=True)])
def test_other_precisions_keep_the_names(tiny_run: Path, tmp_path: Path, options: GraphOptions) -> None:
    export_bundle(tiny_run, tmp_path / "bundle", options)
    assert set(constants(read(tmp_path / "bundle"))) - {"bank/scale"} == EXACT


def test_int8_keeps_the_names(int8_bundle: Path) -> None:
    assert set(constants(read(int8_bundle))) == EXACT


def test_a_bank_that_is_put_in_scores_as_that_bank(tiny_bundle: Path, fitted: Patchcore, images: list[Image]) -> None:
    other, model = other_bank(fitted), read(tiny_bundle)
    found = constants(model)
    for name, value in of_bank(other.model.memory_bank.numpy(), other.model.num_neighbors).items():
        assert list(found[name].get_output_shape(0)) == list(value.shape)
        made = ov.op.Constant(np.ascontiguousarray(value, found[name].data.dtype))
        for target in list(found[name].output(0).get_target_inputs()):
            target.replace_source_output(made.output(0))
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in images[:4]:
        score, anomaly_map = list(compiled(image[None]).values())
        expected, before = other(torch.from_numpy(image)[None]), fitted(torch.from_numpy(image)[None])
        np.testing.assert_allclose(score, expected.pred_score.numpy(), rtol=1e-4)
        np.testing.assert_allclose(anomaly_map, expected.anomaly_map.numpy(), rtol=1e-3, atol=1e-3)
        assert abs(float(before.pred_score[0]) / float(score[0]) - 1) > 0.05, "the banks were meant to differ"


def test_the_page_lists_every_name(tiny_bundle: Path, fast_bundle: Path) -> None:
    page = (REPOSITORY / "docs" / "bundle.md").read_text(encoding="utf-8")
    for bundle in (tiny_bundle, fast_bundle):
        for name in constants(read(bundle)):
            assert f"`patchcore/{re.sub(r'[0-9]+$', 'i', name)}`" in page
