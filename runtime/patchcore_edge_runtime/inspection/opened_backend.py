"""A bundle's graph opened on a device: from the cache where that is whole, and past its self-test."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..bundle.bundle import Bundle
from ..bundle.lower_precision import AskedPrecision, InferencePrecision
from ..bundle.manifest import Manifest
from ..errors import BundleError, ConfigError, DeviceError, ParityError
from .compiled_models import CompiledModels
from .openvino_backend import Hint, OpenVINOBackend, made_for, openvino_version
from .self_test import self_test

__all__ = ["made_with_newer_tools", "open_backend"]

_LOG = logging.getLogger(__name__)


def open_backend(
    bundle: Bundle,
    device: str,
    hint: Hint = "latency",
    cache_dir: Path | None = None,
    inference_num_threads: int | None = None,
    inference_precision: AskedPrecision = "auto",
) -> tuple[OpenVINOBackend, float]:
    """A bundle's graph on an OpenVINO device, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """
    settings = _Settings(device, hint, cache_dir, inference_num_threads)
    *lower, last = _precisions(bundle.manifest, device, inference_precision)
    for precision in lower:
        try:
            return _opened(bundle, settings, precision)
        except (BundleError, DeviceError, ParityError) as error:
            _LOG.warning("%s is not computed in %s here: %s", bundle.manifest.model_id, precision, error)
    return _opened(bundle, settings, last)


class _Settings(NamedTuple):
    device: str
    hint: Hint
    cache_dir: Path | None
    inference_num_threads: int | None


def _precisions(manifest: Manifest, device: str, asked: AskedPrecision) -> Sequence[InferencePrecision]:
    """What to try, one after the other: never what the bundle was not verified for."""
    if asked == "auto":
        fast = made_for(device) if len(manifest.inference_precisions) > 1 else ("f32",)
        return [one for one in manifest.inference_precisions if one in fast]
    if asked not in manifest.inference_precisions:
        raise ConfigError(
            f"{manifest.model_id} was verified for {', '.join(manifest.inference_precisions)} and not for {asked}; ask "
            f"for one of those, or export it on a machine that computes in {asked}."
        )
    return [asked]


def _opened(bundle: Bundle, settings: _Settings, precision: InferencePrecision) -> tuple[OpenVINOBackend, float]:
    def opened(cache: Path | None) -> tuple[OpenVINOBackend, float]:
        device, hint, _, threads = settings
        backend = OpenVINOBackend(bundle.model_xml, device, hint, cache, threads, precision)
        deviation = self_test(bundle, backend, device)
        _LOG.info("%s is computed in %s on %s.", bundle.manifest.model_id, precision, device)
        return backend, deviation

    if settings.cache_dir is None:
        return opened(None)
    compiled = CompiledModels(settings.cache_dir, bundle.manifest.graph_digest, precision)
    if compiled.prepare():
        try:
            return opened(compiled.folder)
        except (BundleError, DeviceError) as error:
            # Perhaps of another version of a driver; what is wrong with the bundle is said by the next try.
            compiled.discard(str(error))
    found = opened(compiled.folder)
    compiled.keep()
    return found


def made_with_newer_tools(manifest: Manifest) -> str:
    """What to say where this machine's OpenVINO is older than the one that exported a bundle; empty where it is not."""
    made_with, here = manifest.tools.get("openvino", ""), openvino_version()
    if _release(made_with) <= _release(here):
        return ""
    return (
        f"this machine's OpenVINO {here} is older than {made_with}, which exported {manifest.model_id}; update it if "
        "the self-test fails."
    )


def _release(version: str) -> tuple[int, int]:
    """Year and number of an OpenVINO version such as ``2026.4.0-19000``; zeros where it has none."""
    parts = version.split(".")[:2]
    return (int(parts[0]), int(parts[1])) if len(parts) == 2 and all(part.isdecimal() for part in parts) else (0, 0)
