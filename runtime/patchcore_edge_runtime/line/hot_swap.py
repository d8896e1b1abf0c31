"""Changing the bundle while the line runs."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from stat import S_ISREG

from ..bundle.bundle import MANIFEST, MAX_MANIFEST_BYTES, MODEL_BIN, MODEL_XML
from ..errors import BundleError
from ..inspection.inspector import Inspector
from ..logs import log_failure
from ..system import abandon, anything_hangs
from ..threads import keep_running, log_error

__all__ = ["HotSwapper", "Stamp", "bundle_stamp"]

_LOG = logging.getLogger(__name__)
_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 3600.0
# What loading costs is taken from the line: a bundle that is tried in vain takes a twentieth of the time at most.
_SHARE = 20
_MOST_IMAGES = 100
_CLOSE_SECONDS = 5.0
Stamp = tuple[str, str, tuple[tuple[str, tuple[int, ...]], ...]]
"""What tells what lies at a path from what lay there before: the real path, the manifest's sha256, and of each file
its name, time, size, inode, owner and rights."""


class HotSwapper:
    """Watches a bundle's path, and has the next inspector ready when what is there changes.

    A new bundle is loaded, self-tested and warmed up in a thread of its own; the line goes on with the old one and
    takes the new one between two frames. When that fails the old one stays, and ``message`` says why; it is tried again
    as soon as any of its files changes, and, while they stay as they are, after a pause that grows: a share may have
    been away, a model server may not have its model yet.

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
        self._pause, self._again_at = _FIRST_PAUSE_SECONDS, float("inf")
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
        """Stop watching; a bundle that is being loaded is not waited for."""
        self._end.set()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            abandon(self._thread)

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
            if now is None and self._again_at < float("inf"):
                # What failed has gone: when it comes back, it may be whole.
                self._taken = None
            if now is not None and now == seen and (now != self._taken or self._is_due()):
                with self._loading:
                    if now != self._taken:
                        self._taken, self._pause = now, _FIRST_PAUSE_SECONDS
                    self._load()
            seen = now

    def _is_due(self) -> bool:
        """Whether what failed is to be tried again; not beside a try that hangs in a library, and takes cores."""
        return time.monotonic() >= self._again_at and not anything_hangs()

    def _load(self) -> bool:
        begin = time.monotonic()
        try:
            inspector = self._build(self._path)
            if bundle_stamp(self._path) != self._taken:
                # Its parts may be those of two bundles, and what judges by whose manifest nobody could say.
                raise BundleError("It was changed while it was loaded; it is loaded again when it stays as it is.")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the next bundle is to be taken
            now = time.monotonic()
            self._again_at = now + max(self._pause, _SHARE * (now - begin))
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            message = f"The bundle at {self._path} was not taken, the old one goes on: {error}"
            if message != self.message:  # once, and not with every try
                self.message = message
                log_error(_LOG, message, error)
            return False
        self._again_at = float("inf")
        with self._lock:
            self._ready = inspector
        self.message = f"Changed to {inspector.manifest.model_id}, manifest {inspector.bundle.digest[:12]}."
        _LOG.info(self.message)
        return True


def bundle_stamp(path: Path) -> Stamp | None:
    """What changes when anything of a bundle at ``path`` does; None while there is none."""
    try:
        folder = path.resolve()
        # One that may not be looked at is there: loading it says so.
        with suppress(PermissionError):
            (folder / MANIFEST).stat()
        return str(folder), _digest(folder / MANIFEST), tuple((file.name, _facts(file)) for file in _files(folder))
    except (OSError, RuntimeError, ValueError):  # links in a circle are a RuntimeError
        return None


def _files(folder: Path) -> Iterator[Path]:
    yield from (folder / name for name in (MANIFEST, MODEL_XML, MODEL_BIN))
    try:
        yield from sorted(islice((folder / "golden").iterdir(), _MOST_IMAGES))
    except OSError:
        return


def _facts(file: Path) -> tuple[int, ...]:
    """Nothing, where it is not there or not to be seen: that changes as well."""
    try:
        facts = file.stat()
    except OSError:
        return ()
    # Not the time of the last change of these: another hard link, as backups make them, would be another bundle.
    return facts.st_mtime_ns, facts.st_size, facts.st_ino, facts.st_uid, facts.st_gid, facts.st_mode


def _digest(manifest: Path) -> str:
    """Of what it says: times, sizes and inodes may all be those of the file before, as of archives without times."""
    try:
        with open(manifest, "rb", opener=_without_waiting) as file:
            is_file = S_ISREG(os.fstat(file.fileno()).st_mode)
            return hashlib.sha256(file.read(MAX_MANIFEST_BYTES)).hexdigest() if is_file else ""
    except OSError:
        return ""


def _without_waiting(path: str, flags: int) -> int:
    """A named pipe that nobody writes to would be waited for without end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
