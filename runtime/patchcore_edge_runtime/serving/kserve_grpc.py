"""KServe v2 by gRPC, with tensors as raw bytes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ServerError, said
from .http2 import UnaryCalls
from .kserve import Answer, ModelMetadata, Tensor, as_array, check_id
from .messages import SERVICE, message
from .settings import ServerSettings
from .wire import Wire

__all__ = ["GrpcConnection"]

_MAX_PLAIN = 1 << 20


class GrpcConnection:
    """A ``Connection`` by gRPC, with TLS or without.

    Args:
        settings: of the server.

    Raises:
        ServerError: the server cannot be reached.
        ConfigError: a setting cannot be used, or a package is missing.
    """

    def __init__(self, settings: ServerSettings) -> None:
        message("ModelInferRequest")  # what is missing is said before anything is sent
        self._address = address = settings.address
        token = settings.token()
        headers = [
            (":method", "POST"),
            (":scheme", "https" if address.encrypted else "http"),
            (":authority", address.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "patchcore-edge"),
            *([("authorization", f"Bearer {token}")] if token else []),
        ]
        self._numbers = count()
        self._calls = UnaryCalls(Wire(address.host, address.port, settings.timeout, settings.tls("h2")), headers)

    @property
    def silent(self) -> bool:
        """As ``Connection`` says."""
        return self._calls.silent

    def metadata(self, seconds: float) -> ModelMetadata:
        """As ``Connection`` says."""
        request = message("ModelMetadataRequest")(name=self._address.model, version=self._address.version)
        found = self._ask("ModelMetadata", request, "ModelMetadataResponse", seconds, _MAX_PLAIN)
        return ModelMetadata(
            found.name,
            tuple(found.versions),
            *(
                tuple(Tensor(one.name, one.datatype, tuple(one.shape)) for one in tensors)
                for tensors in (found.inputs, found.outputs)
            ),
        )

    def ready(self, seconds: float) -> None:
        """As ``Connection`` says."""
        request = message("ModelReadyRequest")(name=self._address.model, version=self._address.version)
        if not self._ask("ModelReady", request, "ModelReadyResponse", seconds, _MAX_PLAIN).ready:
            raise ServerError("it says that the model is not ready")

    def infer(self, name: str, data: NDArray[np.uint8], outputs: Sequence[str], seconds: float, limit: int) -> Answer:
        """As ``Connection`` says."""
        number = str(next(self._numbers))
        request = message("ModelInferRequest")(
            model_name=self._address.model, model_version=self._address.version, id=number
        )
        request.inputs.add(name=name, datatype="UINT8", shape=data.shape)
        request.raw_input_contents.append(data.tobytes())
        for output in outputs:
            request.outputs.add(name=output)
        found = self._ask("ModelInfer", request, "ModelInferResponse", seconds, limit + _MAX_PLAIN)
        check_id(number, found.id)
        raw = list(found.raw_output_contents)
        if raw and len(raw) != len(found.outputs):
            raise ServerError(f"it answers {len(found.outputs)} outputs with the bytes of {len(raw)}")
        arrays = {}
        for place, output in enumerate(found.outputs):
            content = raw[place] if raw else _typed(output)
            arrays[output.name] = as_array(output.name, output.datatype, tuple(output.shape), content)
        return Answer(found.model_name, found.model_version, arrays)

    def close(self) -> None:
        """Hang up."""
        self._calls.close()

    def _ask(self, method: str, request: Any, answer: str, seconds: float, limit: int) -> Any:
        from google.protobuf.message import DecodeError

        content = self._calls.call(f"/{SERVICE}/{method}", request.SerializeToString(), seconds, limit)
        try:
            return message(answer).FromString(content)
        except DecodeError as error:
            self.close()
            raise ServerError(f"its answer is no {answer} of KServe v2 ({said(error)})") from None


def _typed(output: Any) -> bytes:
    """The bytes of an output that a server sends as numbers."""
    if output.datatype == "UINT8":
        numbers = np.fromiter(output.contents.uint_contents, np.uint32)
        if numbers.size and numbers.max() > 255:
            raise ServerError(f"its {said(output.name)} has numbers that are none of 8 bits")
        return numbers.astype(np.uint8).tobytes()
    return np.fromiter(output.contents.fp32_contents, np.dtype("<f4")).tobytes()
