"""Compiled models that several lines of one process share."""

from __future__ import annotations

import threading
from pathlib import Path
from weakref import WeakSet

from ..bundle.bundle import Bundle
from ..bundle.lower_precision import AskedPrecision
from .opened_backend import open_backend
from .openvino_backend import OpenVINOBackend
from .self_test import self_test

__all__ = ["SharedModels"]

_Key = tuple[str, tuple[str, ...], str, Path | None, int | None, AskedPrecision]


class SharedModels:
    """One compiled model for each graph and device, whoever asks, with a request and memory for each who does.

    The device's threads are shared as OpenVINO's streams, and its weights lie in memory once. A model that nobody uses
    any more, as after a hot swap of all its lines, is forgotten.

    Args:
        requests: how many lines there are.
    """

    def __init__(self, requests: int) -> None:
        self._requests = requests
        self._backends: dict[_Key, WeakSet[OpenVINOBackend]] = {}
        # Whoever asks for a model that is being compiled waits for it, and compiles no second one.
        self._lock = threading.Lock()

    def open(
        self,
        bundle: Bundle,
        device: str,
        cache_dir: Path | None = None,
        inference_num_threads: int | None = None,
        inference_precision: AskedPrecision = "auto",
    ) -> tuple[OpenVINOBackend, float]:
        """A bundle's graph on that device, past its self-test; arguments, result and errors are ``open_backend``'s."""
        device = device.upper()
        manifest = bundle.manifest
        graph = (manifest.graph_digest, manifest.inference_precisions)
        key = (*graph, device, cache_dir, inference_num_threads, inference_precision)
        with self._lock:
            there = next(iter(self._backends.get(key, ())), None)
            if there is not None:
                backend = there.sibling()
                deviation = self_test(bundle, backend, device)
            else:
                several = self._requests > 1
                backend, deviation = open_backend(
                    bundle,
                    device,
                    "throughput" if several else "latency",
                    cache_dir,
                    inference_num_threads,
                    self._requests if several else None,
                    inference_precision,
                )
            self._backends.setdefault(key, WeakSet()).add(backend)
        return backend, deviation

    def __len__(self) -> int:
        """Models that are in use."""
        return sum(bool(backends) for backends in self._backends.values())
