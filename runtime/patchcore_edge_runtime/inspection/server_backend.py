"""A bundle's graph on a model server: shown to be the right one, and found again after it was away."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from ..bundle.bundle import Bundle
from ..errors import DeviceError, PatchcoreEdgeError
from ..images.preprocess import Image
from ..serving.connect import connect
from ..serving.errors import ServerError
from ..serving.kserve import Connection
from ..serving.settings import ServerSettings
from ..threads import describe_failure, keep_running
from .self_test import check_golden
from .server_session import ServerSession

__all__ = ["ServerBackend"]

_LOG = logging.getLogger(__name__)
_PING_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 4.0


class ServerBackend:
    """A model on a server that speaks KServe v2.

    Each connection scores the golden images before it scores a frame. When anything goes wrong, the connection ends:
    the frame is ERROR, so are those that come, and a thread looks for the server until another connection has scored
    the golden images as it should. A connection without frames is asked every second whether the model is ready, so
    that servers keep it open and a loss is known before the next part comes.

    Args:
        bundle: checked.
        settings: of the server.
        open_connection: connects; takes and raises what ``connect`` does.

    Attributes:
        golden_deviation: largest relative deviation from the bundle's golden scores.

    Raises:
        DeviceError: the server cannot be reached, refuses, or has another model under that name.
        ParityError, BundleError: its scores are not the bundle's.
        ConfigError: a setting cannot be used, or a package is missing.
    """

    def __init__(
        self,
        bundle: Bundle,
        settings: ServerSettings,
        open_connection: Callable[[ServerSettings], Connection] = connect,
    ) -> None:
        self._bundle, self._settings, self._connect = bundle, settings, open_connection
        self.name = settings.address.shown
        height, width = bundle.manifest.preprocess.input_size
        self._images: Image = np.zeros((bundle.manifest.batch, height, width, 3), np.uint8)
        # Held while a connection is in use; a frame waits for a ping at most.
        self._use = threading.Lock()
        self._session: ServerSession | None = None
        self._why = ""
        self._golden = cycle(bundle.manifest.golden)
        self._pause = _FIRST_PAUSE_SECONDS
        try:
            self._session, self.golden_deviation = self._open()
        except ServerError as error:
            raise DeviceError(f"{self.name}: {error}; check the server and its name, or wait until it is up.") from None
        wake = threading.Event()
        self._wake = wake
        weakref.finalize(self, wake.set)
        own = weakref.ref(self)
        keep_running("model server", partial(_keep, own, wake), ended=lambda: own() is None)

    @property
    def images(self) -> Image:
        """``[N,H,W,3]`` uint8: what is sent."""
        return self._images

    @property
    def execution_devices(self) -> list[str]:
        """The model at its server; which device that uses is its own business."""
        return [self.name]

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch, as ``Backend`` says; raises ``ServerError`` while the server is away or not the right one."""
        with self._use:
            session = self._session
            if session is None:
                raise ServerError(self._why)
            try:
                if session.tested_before(time.monotonic() - self._settings.recheck):
                    check_golden(self._bundle, next(self._golden), session, self.name)
                    session.tested()
                return session.infer(images)
            except Exception as error:  # noqa: BLE001 - whatever went wrong, this connection is not used again
                self._lose(error)
                raise ServerError(self._why) from None

    def tend(self) -> float:
        """Look after the connection, from a thread of its own; returns seconds until the next look."""
        if self._session is None:
            return self._find()
        if self._use.acquire(blocking=False):
            try:
                session = self._session
                if session is not None and session.idle_since(time.monotonic() - _PING_SECONDS):
                    session.ping()
            except ServerError as error:
                self._lose(error)
                return 0.0
            finally:
                self._use.release()
        return _PING_SECONDS / 2

    def _find(self) -> float:
        try:
            session, deviation = self._open()
        except Exception as error:  # noqa: BLE001 - whatever is there, frames stay ERROR
            self._say(error)
            pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
            return pause
        with self._use:
            self._session, self.golden_deviation = session, deviation
            self._why, self._pause = "", _FIRST_PAUSE_SECONDS
        _LOG.warning("%s is back and scores the golden images as it should.", self.name)
        return _PING_SECONDS / 2

    def _open(self) -> tuple[ServerSession, float]:
        connection = self._connect(self._settings)
        try:
            session = ServerSession(connection, self._settings, self._images.shape)
            golden = self._bundle.manifest.golden
            deviation = max(check_golden(self._bundle, image, session, self.name) for image in golden)
            session.tested()
        except BaseException:
            connection.close()
            raise
        return session, deviation

    def _lose(self, error: Exception) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()
        self._say(error)
        self._wake.set()

    def _say(self, error: Exception) -> None:
        known = isinstance(error, ServerError | PatchcoreEdgeError)
        why = f"{self.name}: {error if known else describe_failure(error)}"
        if why != self._why:
            _LOG.warning("The model server is not used (%s); it is tried again until it is right.", why)
        self._why = why


def _keep(own: weakref.ref[ServerBackend], wake: threading.Event) -> None:
    """Until nobody uses the backend any more."""
    pause = _PING_SECONDS
    while True:
        if wake.wait(pause):
            wake.clear()
        backend = own()
        if backend is None:
            return
        pause = backend.tend()
        del backend
