"""The graph's files in a bundle folder: the search that was asked for or that pays, written and past the gate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from patchcore_edge.models import Patchcore
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.verdict import Thresholds

from .gate.advice import advice
from .gate.parity import LIMITS, require_parity
from .graph_builder import BuildResult, GraphBuilder
from .options import CalibrationInputs, GraphOptions
from .planning.plan import Choice, plan_search
from .samples import gate_samples

__all__ = ["BuildResult", "CalibrationInputs", "GraphOptions", "build_graph", "gate_samples"]

_TRIES = ((1.0, 1), (0.6, 4))
"""Shares of the map's limit to plan by, and how many times the usual margins for scores: the second where the gate,
which sees more images, refuses the first plan."""


def build_graph(
    folder: Path,
    fitted: Patchcore,
    images: Sequence[Image],
    thresholds: Thresholds,
    options: GraphOptions,
    inputs: CalibrationInputs | None = None,
) -> BuildResult:
    """Write ``model.xml``, ``model.bin`` and, where asked for, ``model.onnx``.

    Args:
        folder: bundle folder to write to.
        fitted: the run's model.
        images: its calibration images, HxWx3 uint8 BGR of the model's size.
        thresholds: of the run.
        options: what was asked for.
        inputs: what only some options and runs need.

    Raises:
        ParityError: the graph does not score as ``fitted`` does, and was not forced.
        ConfigError: options that exclude each other.
    """
    if options.compress_weights and options.precision == "int8":
        raise ConfigError("INT8 stores the backbone in 8 bits already; give --precision int8 or --compress-weights.")
    builder = GraphBuilder(folder, fitted, images, thresholds, options, inputs or CalibrationInputs())

    def plan(share: float, care: int) -> Choice:
        # Chosen on float features: what INT8's map limit has beyond float's is for the error of its own features.
        return plan_search(builder.judge, images, thresholds, share * LIMITS["fp32"].fast_map, care)

    built = _certified(options, plan, builder)
    if not options.force:
        require_parity(built.parity, advice(options.precision, built.search, compressed=options.compress_weights))
    return built


def _certified(
    options: GraphOptions,
    plan: Callable[[float, int], Choice],
    builder: GraphBuilder,
) -> BuildResult:
    """The graph of the search that was asked for, which for ``auto`` is the fast one where it pays and passes.

    Args:
        options: what was asked for.
        plan: chooses a plan that may use so much of the map's limit, a share, with so many times the usual margins.
        builder: writes and judges the graph of a plan, of exact search without one.
    """
    why = "as asked"
    for share, care in _TRIES if options.search != "exact" else ():
        choice = plan(share, care)
        why = choice.reason
        if options.search == "auto" and not (choice.holds and choice.pays):
            break
        built = builder.build_and_check(choice.plan, why)
        if built.parity.passed or (options.search == "fast" and (share, care) == _TRIES[-1]):
            return built
        why = f"the gate refused fast search: {'; '.join(built.parity.failures)}"
    return builder.build_and_check(None, why)
