"""Changing the bundle while the line runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ..bundle.bundle import MANIFEST
from ..inspection.inspector import Inspector
from ..logs import log_failure
from ..threads import keep_running, log_error

__all__ = ["HotSwapper", "Stamp", "bundle_stamp"]

_LOG = logging.getLogger(__name__)
Stamp = tuple[str, int, int, int]
"""What tells one bundle at a path from the next: the real path, and the manifest's time, size and inode."""


class HotSwapper:
    """Watches a bundle's path, and has the next inspector ready when what is there changes.

    A new bundle is loaded, self-tested and warmed up in a thread of its own; the line goes on with the old one and
    takes the new one between two frames. When that fails the old one stays, and ``message`` says why. What counts is
    the manifest: copy it last, or replace the folder or the link as a whole.

    Args:
        path: bundle folder, or a link to it.
        loaded: ``bundle_stamp(path)`` from before the running bundle was loaded, so that one put there since is seen.
        build: loads the bundle and checks it on the device; the settings of the line are its own.
        poll_seconds: between two looks; a change must be there in two of them to be taken.
        on_swap: told each new inspector when the line takes it.
    """

    def __init__(
        self,
        path: Path,
        loaded: Stamp | None,
        build: Callable[[Path], Inspector],
        poll_seconds: float = 2.0,
        on_swap: Callable[[Inspector], None] = lambda _: None,
    ) -> None:
        self._path, self._build, self._poll_seconds, self._on_swap = path, build, poll_seconds, on_swap
        self._taken = loaded
        self._ready: Inspector | None = None
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._end = threading.Event()
        self.message = ""
        self._thread = keep_running("hot swap", self._watch, ended=self._end.is_set, failed=self._say)

    def request(self, path: Path | None = None) -> bool:
        """Load the bundle now, or another one in its place, and wait for it.

        Returns:
            whether it will be used from the next frame on; ``message`` says why not.
        """
        with self._loading:
            if path is not None:
                self._path = path
            self._taken = bundle_stamp(self._path)
            return self._load()

    def poll(self) -> Inspector | None:
        """The new inspector, once; None when there is none. Called by the line between two frames."""
        if self._ready is None:
            return None
        with self._lock:
            inspector, self._ready = self._ready, None
        if inspector is not None:
            self._tell(inspector)
        return inspector

    def close(self) -> None:
        """Stop watching."""
        self._end.set()
        self._thread.join(5.0)

    def _tell(self, inspector: Inspector) -> None:
        try:
            self._on_swap(inspector)
        except Exception as error:  # noqa: BLE001
            # The line's own thread: what shows the change must not end what judges.
            log_failure(_LOG, "A change to another bundle could not be shown.", error)

    def _say(self, reason: str) -> None:
        self.message = reason

    def _watch(self) -> None:
        seen = self._taken
        while not self._end.wait(self._poll_seconds):
            now = bundle_stamp(self._path)
            if now is not None and now == seen and now != self._taken:
                with self._loading:
                    self._taken = now
                    self._load()
            seen = now

    def _load(self) -> bool:
        try:
            inspector = self._build(self._path)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the next bundle is to be taken
            self.message = f"The bundle at {self._path} was not taken, the old one goes on: {error}"
            log_error(_LOG, self.message, error)
            return False
        with self._lock:
            self._ready = inspector
        self.message = f"Changed to {inspector.manifest.model_id}, manifest {inspector.bundle.digest[:12]}."
        _LOG.info(self.message)
        return True


def bundle_stamp(path: Path) -> Stamp | None:
    """What changes when another bundle is put at ``path``; None while there is none."""
    try:
        facts = (path / MANIFEST).stat()
        return str(path.resolve()), facts.st_mtime_ns, facts.st_size, facts.st_ino
    except (OSError, RuntimeError, ValueError):  # links in a circle are a RuntimeError
        return None
