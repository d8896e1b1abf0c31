"""A bundle's graph opened, on a device or on a server, and past its self-test."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from ..bundle.bundle import Bundle
from ..bundle.manifest import Manifest
from ..errors import BundleError, ConfigError, DeviceError
from ..serving.served_bundle import fetch_bundle
from ..serving.settings import ServerSettings, is_server
from ..validation import first_fault, require
from .compiled_models import CompiledModels
from .openvino_backend import Hint, OpenVINOBackend, openvino_version
from .self_test import self_test
from .server_backend import ServerBackend

__all__ = ["as_server", "made_with_newer_tools", "open_backend", "open_bundle", "open_served"]


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
    bundle: Bundle, server: ServerSettings, device: str, cache_dir: Path | None, inference_num_threads: int | None
) -> tuple[ServerBackend, float]:
    """A bundle's graph on a server, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """
    if device != "CPU" or cache_dir is not None or inference_num_threads is not None:
        raise ConfigError("The server has its own device, threads and cache; leave them out where a server is given.")
    backend = ServerBackend(bundle, server)
    return backend, backend.golden_deviation


def open_backend(
    bundle: Bundle,
    device: str,
    hint: Hint = "latency",
    cache_dir: Path | None = None,
    inference_num_threads: int | None = None,
    requests: int | None = None,
) -> tuple[OpenVINOBackend, float]:
    """A bundle's graph on an OpenVINO device, past its self-test; arguments and errors are ``Inspector``'s.

    Returns:
        the backend, and the largest relative deviation from a golden score.
    """

    def opened(cache: Path | None) -> tuple[OpenVINOBackend, float]:
        backend = OpenVINOBackend(bundle.model_xml, device, hint, cache, inference_num_threads, requests)
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
