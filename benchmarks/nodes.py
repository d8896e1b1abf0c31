"""What the parts of a search cost, in products of integers: the constants of ``patchcore_edge_export.planning.cost``.

python -m benchmarks.nodes

Each part is a graph of its own on random numbers; what an empty graph takes is taken off.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13

from .row import repeated

PATCHES, CHUNK, BANK, DIMENSION = 512, 1024, 16_384, 384
DIMENSIONS = (32, 64, 96, 128, 192, 256)
REFINED, CANDIDATES = 24, 64
RUNS = 200

_Part = Callable[..., Any]
_rng = np.random.default_rng(0)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    coarse = [_seconds(_coarse(d), _floats(1, PATCHES, d)) / (PATCHES * CHUNK) for d in DIMENSIONS]
    product, distance = np.polyfit(DIMENSIONS, coarse, 1)
    exact = _seconds(_exact, _floats(1, REFINED, DIMENSION)) / (REFINED * BANK * DIMENSION)
    ranked = _seconds(_ranked, _floats(REFINED, BANK)) / (REFINED * BANK)
    places = _rng.integers(0, BANK, (REFINED, CANDIDATES)).astype(np.int32)
    gathered = _seconds(_gathered, _floats(REFINED, DIMENSION), places) / (REFINED * CANDIDATES * DIMENSION)
    print(f"a product of integers: {product * 1e12:.2f} ps, the unit of what follows")
    for name, seconds in (
        ("a distance, written and looked at once", distance),
        ("a product of floats", exact),
        ("a distance, ranked", ranked),
        ("a coordinate of a candidate, fetched, subtracted and squared", gathered),
    ):
        print(f"{name}: {seconds / product:.0f}")


def _floats(*shape: int) -> NDArray[np.float32]:
    return _rng.standard_normal(shape).astype(np.float32)


def _seconds(part: _Part, *inputs: NDArray[Any]) -> float:
    """Median time of a part, less that of handing over the same inputs."""
    return _median(part, inputs) - _median(lambda *given: given[0], inputs)


def _median(part: _Part, inputs: Sequence[NDArray[Any]]) -> float:
    given = [opset13.parameter(list(one.shape), one.dtype) for one in inputs]
    # One number goes out, so that no large result is copied.
    found = opset13.reduce_max(part(*given), opset13.constant(list(range(inputs[0].ndim))))
    config = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    request = ov.compile_model(ov.Model([found], given), "CPU", config).create_infer_request()
    for index, one in enumerate(inputs):
        request.set_input_tensor(index, ov.Tensor(one))
    repeated(lambda _: request.infer(), RUNS // 10)
    return repeated(lambda _: request.infer(), RUNS).median


def _coarse(dimensions: int) -> _Part:
    """8-bit products with a chunk of points, and the largest of each row."""

    def part(patches: Any) -> Any:
        weights = _rounded(opset13.constant(_floats(CHUNK, dimensions)))
        products = opset13.matmul(_rounded(patches), weights, False, True)
        biased = opset13.add(products, opset13.constant(_floats(1, 1, CHUNK)))
        return opset13.reduce_max(biased, opset13.constant([2]), keep_dims=True)

    return part


def _rounded(values: Any) -> Any:
    ends = [opset13.constant(np.float32(end)) for end in (-4, 4 * 127 / 128)]
    return opset13.fake_quantize(values, *ends, *ends, 256)


def _exact(patches: Any) -> Any:
    products = opset13.matmul(patches, opset13.constant(_floats(BANK, DIMENSION)), False, True)
    return opset13.reduce_max(products, opset13.constant([2]), keep_dims=True)


def _ranked(similarity: Any) -> Any:
    return opset13.topk(similarity, opset13.constant(np.int64(CANDIDATES)), -1, "max", "none").output(0)


def _gathered(patches: Any, places: Any) -> Any:
    near = opset13.gather(opset13.constant(_floats(BANK, DIMENSION)), places, opset13.constant(np.int32(0)))
    apart = opset13.subtract(opset13.unsqueeze(patches, opset13.constant([1])), near)
    return opset13.reduce_sum(opset13.multiply(apart, apart), opset13.constant([2]))


if __name__ == "__main__":
    main()
