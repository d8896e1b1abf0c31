"""KServe's protocol, version 2, whichever way it travels: what is asked and what comes back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import ServerError, said

__all__ = ["Answer", "Connection", "ModelMetadata", "Tensor", "as_array", "check_id"]

_DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_MAX_RANK = 8


@dataclass(frozen=True)
class Tensor:
    """An input or output as a server describes it; a side that is not fixed is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What a server says of a model; servers may leave inputs and outputs out."""

    name: str
    versions: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class Answer:
    """Of which model, in which version (empty where the server does not say), and the outputs by name."""

    model: str
    version: str
    outputs: Mapping[str, NDArray[Any]]


class Connection(Protocol):
    """One connection to one model on a server; it ends when anything on it goes wrong, and is never made anew.

    Each call raises ``ServerError``, when the time that it is given is over at the latest.
    """

    @property
    def silent(self) -> bool:
        """Whether it is as the last answer left it; one that the server closed meanwhile is not."""

    def metadata(self, seconds: float) -> ModelMetadata:
        """What the server says of the model."""

    def ready(self, seconds: float) -> None:
        """Raise unless the server says that the model is ready."""

    def infer(self, name: str, data: NDArray[np.uint8], outputs: Sequence[str], seconds: float, limit: int) -> Answer:
        """Ask for outputs.

        Args:
            name: of the only input.
            data: contiguous.
            outputs: their names.
            seconds: for all of it.
            limit: bytes that the outputs may have together.
        """

    def close(self) -> None:
        """Hang up."""


def as_array(name: str, datatype: str, shape: Sequence[int], data: bytes | memoryview) -> NDArray[Any]:
    """A tensor from its bytes, little-endian and in row order; raises ``ServerError`` where they do not go together."""
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise ServerError(f"it answers {said(name)} in {said(datatype)} and not in {' or '.join(_DTYPES)}")
    if len(shape) > _MAX_RANK or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(data):
        raise ServerError(f"its {said(name)} of the shape {said(list(shape))} has {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)


def check_id(asked: str, answered: str) -> None:
    """Refuse the answer to another request; servers may leave out which it is."""
    if answered not in ("", asked):
        raise ServerError(f"it answers request {said(answered)} and not {asked}")
