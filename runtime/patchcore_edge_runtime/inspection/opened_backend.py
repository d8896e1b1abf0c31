"""A bundle's graph opened on a device: from the cache where that is whole, and past its self-test."""

from __future__ import annotations

from pathlib import Path

from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..errors import BundleError, DeviceError
from .compiled_models import CompiledModels
from .openvino_backend import Hint, OpenVINOBackend, openvino_version
from .self_test import self_test

__all__ = ["made_with_newer_tools", "open_backend"]


def open_backend(
    bundle: Bundle,
    device: str,
    hint: Hint = "latency",
    cache_dir: Path | None = None,
    inference_num_threads: int | None = None,
) -> tuple[OpenVINOBackend, float]:
    """A bundle's graph on an OpenVINO device, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """

    def opened(cache: Path | None) -> tuple[OpenVINOBackend, float]:
        backend = OpenVINOBackend(bundle.model_xml, device, hint, cache, inference_num_threads)
        return backend, self_test(bundle, backend, device)

    if cache_dir is None:
        return opened(None)
    compiled = CompiledModels(cache_dir, bundle.manifest.graph_digest)
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
