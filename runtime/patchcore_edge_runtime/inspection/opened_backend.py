"""A bundle's graph opened, on a device or on a server, and past its self-test."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from ..bundle.bundle import Bundle
from ..bundle.lower_precision import AskedPrecision, InferencePrecision
from ..bundle.manifest import Manifest
from ..errors import BundleError, ConfigError, DeviceError, ParityError
from ..serving.served_bundle import fetch_bundle
from ..serving.settings import ServerSettings, is_server
from ..system import within
from ..validation import first_fault, require
from .compiled_models import CompiledModels
from .openvino_backend import Hint, OpenVINOBackend, made_for, openvino_version
from .self_test import self_test
from .server_backend import ServerBackend

__all__ = ["as_server", "made_with_newer_tools", "open_backend", "open_bundle", "open_served"]


_LOG = logging.getLogger(__name__)
_OPEN_SECONDS = 600.0
"""To compile a graph: accelerators take minutes."""


def as_server(bundle: object, server: object) -> ServerSettings | None:
    """The server that scores for a line; None where its own device does.

    Args:
        bundle: folder, bundle, or a model on a server as a URL.
        server: a URL or settings.

    Raises:
        ConfigError: they are no URL of a model, or both are one.
    """
    require("server", server, (str, ServerSettings, type(None)), "a URL such as 'grpc://HOST:PORT/MODEL'")
    if is_server(bundle):
        if server is not None:
            raise ConfigError("The bundle is one that a server has, and a server is given too; give one of the two.")
        server = bundle
    if server is None or isinstance(server, ServerSettings):
        return server
    try:
        return ServerSettings.model_validate({"uri": server})
    except ValidationError as error:
        raise ConfigError(f"The server cannot be used: {first_fault(error)}") from None


def open_bundle(bundle: str | Path | Bundle | None, server: ServerSettings | None) -> Bundle:
    """The bundle of a folder, or the one that a server has where there is none; raises as ``Inspector`` does."""
    if isinstance(bundle, Bundle):
        return bundle
    if server is not None and (bundle is None or is_server(bundle)):
        return fetch_bundle(server)
    require("bundle", bundle, (str, Path), "the folder that `patchcore-edge export` wrote, or a server's URL")
    assert bundle is not None
    return Bundle.load(bundle)


def open_served(
    bundle: Bundle,
    server: ServerSettings,
    device: str,
    cache_dir: Path | None,
    inference_num_threads: int | None,
    inference_precision: AskedPrecision = "auto",
) -> tuple[ServerBackend, float]:
    """A bundle's graph on a server, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """
    own = (device, cache_dir, inference_num_threads, inference_precision)
    if own != ("CPU", None, None, "auto"):
        raise ConfigError(
            "The server has its own device, threads, cache and precision; leave them out where a server is given."
        )
    backend = ServerBackend(bundle, server)
    return backend, backend.golden_deviation


def open_backend(
    bundle: Bundle,
    device: str,
    hint: Hint = "latency",
    cache_dir: Path | None = None,
    inference_num_threads: int | None = None,
    requests: int | None = None,
    inference_precision: AskedPrecision = "auto",
) -> tuple[OpenVINOBackend, float]:
    """A bundle's graph on an OpenVINO device, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """
    device = device.upper()
    settings = _Settings(device, hint, cache_dir, inference_num_threads, requests)
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
    requests: int | None


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
        device, hint, _, threads, requests = settings
        backend = _in_time(
            partial(OpenVINOBackend, bundle.model_xml, device, hint, cache, threads, requests, precision), device
        )
        deviation = self_test(bundle, backend, device)
        _LOG.info("%s is computed in %s on %s.", bundle.manifest.model_id, precision, device)
        return backend, deviation

    if settings.cache_dir is None:
        return opened(None)
    compiled = CompiledModels(settings.cache_dir, bundle.manifest.graph_digest, precision)
    if not compiled.is_private():
        return opened(None)
    if compiled.prepare():
        try:
            return opened(compiled.folder)
        except (BundleError, DeviceError) as error:
            # Perhaps of another version of a driver; what is wrong with the bundle is said by the next try.
            compiled.discard(str(error))
    found = opened(compiled.folder)
    compiled.keep()
    return found


def _in_time(opened: Callable[[], OpenVINOBackend], device: str) -> OpenVINOBackend:
    """What the graph's constants say alone is computed while it is compiled, and that may have no end either."""
    try:
        return within(_OPEN_SECONDS, opened, "compile", cancel=lambda: None)
    except TimeoutError:
        raise BundleError(
            f"The graph was not ready on {device} within {_OPEN_SECONDS:g} s; use another device or export a smaller "
            "model."
        ) from None


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
