"""One connection to a model that claims to be a bundle's."""

from __future__ import annotations

import math
import time
import weakref

import numpy as np
from numpy.typing import NDArray

from ..images.preprocess import Image
from ..serving.errors import ServerError, said
from ..serving.kserve import Connection, Tensor
from ..serving.settings import ServerSettings
from .backend import FRAME, MAP, SCORE

__all__ = ["ServerSession"]

_OPEN = -1


class ServerSession:
    """A connection whose model has the bundle's interface; a ``Backend`` that ends with its connection.

    Args:
        connection: just opened; closed with the session, or when nobody has it any more.
        settings: of the server.
        shape: of the input of the graph that the model should be.

    Raises:
        ServerError: the server has no such model, or one of another interface.
    """

    def __init__(self, connection: Connection, settings: ServerSettings, shape: tuple[int, ...]) -> None:
        self._connection, self._settings = connection, settings
        weakref.finalize(self, connection.close)
        self._shape = shape
        self._images: Image = np.zeros(shape, np.uint8)
        self._version: str | None = None
        self._used = self._tested = time.monotonic()
        self._one = self._check(shape)

    @property
    def images(self) -> Image:
        """``[N,H,W,3]`` uint8, as ``Backend`` says."""
        return self._images

    @property
    def execution_devices(self) -> list[str]:
        """As ``Backend`` says."""
        return [self._settings.address.shown]

    def infer(self, images: Image) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Score a batch as ``Backend`` says; raises ``ServerError`` for whatever is no answer of the bundle's graph."""
        if not self._connection.silent:
            raise ServerError("it has closed the connection")
        batch, height, width, _ = self._shape
        sent = images[:1] if self._one else np.ascontiguousarray(np.broadcast_to(images, self._shape))
        wanted = {SCORE: (len(sent),), MAP: (len(sent), 1, height, width)}
        size = 4 * sum(math.prod(shape) for shape in wanted.values())
        answer = self._connection.infer(FRAME, np.ascontiguousarray(sent), list(wanted), self._settings.timeout, size)
        self._used = time.monotonic()
        self._check_name(answer.model, answer.version)
        found = []
        for name, shape in wanted.items():
            array = answer.outputs.get(name)
            if array is None or array.dtype != np.float32 or array.shape != shape:
                what = "no such output" if array is None else f"{array.dtype} {list(array.shape)}"
                raise ServerError(f"it answers {what} for {name} and not float32 {list(shape)}")
            if not np.isfinite(array).all():
                raise ServerError(f"its {name} has values that are no numbers")
            found.append(np.ascontiguousarray(np.broadcast_to(array, (batch, *shape[1:]))))
        return found[0], found[1]

    def ping(self) -> None:
        """Ask whether the model is ready, in an otherwise silent moment; raises ``ServerError``."""
        if not self._connection.silent:
            raise ServerError("it has closed the connection")
        self._connection.ready(self._settings.timeout)
        self._used = time.monotonic()

    def idle_since(self, moment: float) -> bool:
        """Whether nothing was asked since a moment of ``time.monotonic``."""
        return self._used < moment

    def tested_before(self, moment: float) -> bool:
        """Whether the newest golden score is from before a moment of ``time.monotonic``."""
        return self._tested < moment

    def tested(self) -> None:
        """Golden images were scored as they should just now."""
        self._tested = time.monotonic()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _check(self, shape: tuple[int, ...]) -> bool:
        """Whether the model takes one image at a time, by what the server says of it; the self-test looks closer."""
        metadata = self._connection.metadata(self._settings.timeout)
        self._check_name(metadata.name, "")
        if not metadata.inputs:
            return True
        names = [tensor.name for tensor in metadata.inputs]
        if names != [FRAME]:
            raise ServerError(f"its model has the inputs {said(', '.join(names))} and not {FRAME} alone")
        frame = metadata.inputs[0]
        if frame.datatype != "UINT8" or not _fits(frame, shape):
            raise ServerError(
                f"its model takes {said(frame.datatype)} {said(list(frame.shape))} "
                f"and this bundle's UINT8 {list(shape)}"
            )
        missing = {SCORE, MAP} - {tensor.name for tensor in metadata.outputs} if metadata.outputs else set()
        if missing:
            raise ServerError(f"its model has no output {min(missing)}")
        return frame.shape[0] in (_OPEN, 1)

    def _check_name(self, model: str, version: str) -> None:
        address = self._settings.address
        if model != address.model:
            raise ServerError(f"it answers for the model {said(model)}")
        if not version:
            return
        if self._version is None:
            self._version = address.version or version
        if version != self._version:
            raise ServerError(f"it answers with version {said(version)} and not {said(self._version)}")


def _fits(frame: Tensor, shape: tuple[int, ...]) -> bool:
    if len(frame.shape) != len(shape):
        return False
    sides = zip(frame.shape, shape, strict=True)
    return all(found in (_OPEN, wanted) or (place == 0 and found == 1) for place, (found, wanted) in enumerate(sides))
