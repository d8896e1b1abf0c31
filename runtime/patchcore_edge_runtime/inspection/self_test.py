"""The golden images on this very device, before it may judge anything."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from ..bundle.bundle import Bundle
from ..bundle.golden_map import deviation
from ..bundle.lower_precision import InferencePrecision, LowerTolerance
from ..bundle.manifest import GoldenImage
from ..errors import BundleError, ParityError
from ..system import within
from .backend import Backend
from .graph_interface import check_answer

__all__ = ["TIME_LIMIT", "check_golden", "self_test"]

TIME_LIMIT = 120.0
"""Seconds for all golden images: on a slow PC they take a few."""


def self_test(bundle: Bundle, backend: Backend, device: str, seconds: float = TIME_LIMIT) -> float:
    """Score the golden images and compare scores and maps with the bundle's; also warms the device up.

    Args:
        bundle: checked.
        backend: its graph, loaded.
        device: as people call it.
        seconds: after which a graph counts as one that never ends.

    The tolerances are those of the precision that the backend computes in; one that does not say computes in float32.

    Returns:
        the largest relative deviation of a score.

    Raises:
        ParityError: a score or a map is not what the bundle says.
        BundleError: the graph has another interface, fails, or does not come to an end.
    """
    height, width = bundle.manifest.preprocess.input_size
    wanted = (bundle.manifest.batch, height, width, 3)
    shape = np.shape(backend.images)
    if shape != wanted:
        raise BundleError(
            f"The graph takes frames of {list(shape)} and the manifest says {list(wanted)}; export the bundle again."
        )

    def work() -> float:
        return max(_computed(bundle, golden, backend, device) for golden in bundle.manifest.golden)

    def cancel() -> None:
        # Not every backend can; see ``OpenVINOBackend.cancel``.
        with suppress(RuntimeError, AttributeError):
            backend.cancel()  # type: ignore[attr-defined]

    try:
        return within(seconds, work, "self-test", cancel)
    except TimeoutError:
        raise BundleError(
            f"The self-test did not come to an end on {device} within {seconds:g} s; "
            "use another device or export a smaller model."
        ) from None


def _tolerance(golden: GoldenImage, precision: InferencePrecision) -> LowerTolerance:
    if precision != "f32":
        if precision not in golden.lower:
            raise ParityError(f"The bundle was not verified for {precision}; compute it in f32.")
        return golden.lower[precision]
    of_map = golden.tolerance if golden.anomaly_map is None else golden.anomaly_map.tolerance
    return LowerTolerance(score=golden.tolerance, map=of_map)


def _computed(bundle: Bundle, golden: GoldenImage, backend: Backend, device: str) -> float:
    try:
        return check_golden(bundle, golden, backend, device)
    except RuntimeError as error:
        why = (str(error).splitlines() or ["it does not say why"])[-1]
        raise BundleError(f"{device} cannot compute {golden.file} ({why}); use another device.") from None


def check_golden(bundle: Bundle, golden: GoldenImage, backend: Backend, device: str) -> float:
    """Score one golden image and compare score and map with the bundle's.

    Args:
        bundle, backend, device: as ``self_test`` takes them.
        golden: one of the bundle's.

    Returns:
        the relative deviation of the score.

    Raises:
        ParityError: score or map are not what the bundle says.
        BundleError: the graph has another interface.
        RuntimeError: the backend's.
    """
    scores, maps = backend.infer(bundle.golden_image(golden)[None])
    check_answer(scores, maps, bundle.manifest.batch, bundle.manifest.preprocess.input_size, "The graph")
    score = float(scores[0])
    off = abs(score - golden.pred_score) / abs(golden.pred_score)
    # Written so that NaN fails.
    allowed = _tolerance(golden, getattr(backend, "inference_precision", "f32"))
    if not off <= allowed.score:
        raise ParityError(
            f"{device} scores {golden.file} {score:.6g} where the fitted model gives "
            f"{golden.pred_score:.6g} (allowed deviation {allowed.score:.1e}); "
            "use another device or export a bundle that is verified for this one."
        )
    _check_map(maps[0, 0], golden, device, allowed.map)
    return off


def _check_map(anomaly_map: Any, golden: GoldenImage, device: str, allowed: float) -> None:
    if not np.isfinite(anomaly_map).all():
        raise ParityError(
            f"{device} gives {golden.file} a map with values that are no numbers; "
            "use another device or export the bundle again."
        )
    if golden.anomaly_map is not None:
        off = deviation(anomaly_map, golden.anomaly_map)
        if not off <= allowed:
            raise ParityError(
                f"{device} gives {golden.file} another map than the exporting machine did (deviation {off:.1e}, "
                f"allowed {allowed:.1e}); use another device or export the bundle again."
            )
