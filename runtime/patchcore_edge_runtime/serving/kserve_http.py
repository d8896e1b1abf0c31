"""KServe v2 by HTTP, with tensors as bytes behind the JSON: the binary tensor data extension."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ServerError, said
from .kserve import Answer, ModelMetadata, Tensor, as_array, check_id
from .settings import ServerSettings
from .wire import Wire

__all__ = ["HttpConnection"]

_HEADER_LENGTH = "Inference-Header-Content-Length"
_MAX_JSON = 1 << 20
_MAX_WHY = 150
_NO_BINARY = "it does not answer in binary as KServe v2's extension for binary tensors has it; ask it by gRPC"


class HttpConnection:
    """A ``Connection`` by HTTP or HTTPS.

    Args:
        settings: of the server.

    Raises:
        ServerError: the server cannot be reached.
        ConfigError: a setting cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        address = settings.address
        token = settings.token()
        self._headers = {"User-Agent": "patchcore-edge"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._path = f"/v2/models/{address.model}" + (f"/versions/{address.version}" if address.version else "")
        self._numbers = count()
        self._wire = Wire(address.host, address.port, settings.timeout, settings.tls("http/1.1"))
        self._http = http.client.HTTPConnection(address.host, address.port)
        # No second connection behind this one's back.
        self._http.auto_open = 0
        self._http.sock = _Plug(self._wire)

    @property
    def silent(self) -> bool:
        """As ``Connection`` says."""
        return self._http.sock is not None and self._wire.silent

    def metadata(self, seconds: float) -> ModelMetadata:
        """As ``Connection`` says."""
        document = _document(self._ask("GET", "", seconds)[1])
        return ModelMetadata(
            _text(document.get("name")),
            tuple(_text(version) for version in _list(document.get("versions"))),
            *(tuple(_tensor(one) for one in _list(document.get(kind))) for kind in ("inputs", "outputs")),
        )

    def ready(self, seconds: float) -> None:
        """As ``Connection`` says."""
        self._ask("GET", "/ready", seconds)

    def infer(self, name: str, data: NDArray[np.uint8], outputs: Sequence[str], seconds: float, limit: int) -> Answer:
        """As ``Connection`` says."""
        size = {"binary_data_size": data.nbytes}
        tensor = {"name": name, "datatype": "UINT8", "shape": list(data.shape), "parameters": size}
        wanted = [{"name": output, "parameters": {"binary_data": True}} for output in outputs]
        number = str(next(self._numbers))
        request = {
            "id": number,
            "inputs": [tensor],
            "outputs": wanted,
            "parameters": {"binary_data_output": True},
        }
        head = json.dumps(request).encode()
        headers = {"Content-Type": "application/octet-stream", _HEADER_LENGTH: str(len(head))}
        answered, body = self._ask("POST", "/infer", seconds, head + data.tobytes(), headers, limit + _MAX_JSON)
        length = answered.get(_HEADER_LENGTH, "")
        if not length.isascii() or not length.isdecimal() or len(length) > 9 or int(length) > len(body):
            raise ServerError(_NO_BINARY)
        document = _document(body[: int(length)])
        check_id(number, _text(document.get("id") or ""))
        return Answer(
            _text(document.get("model_name")),
            _text(document.get("model_version") or ""),
            dict(_outputs(_list(document.get("outputs")), memoryview(body)[int(length) :])),
        )

    def close(self) -> None:
        """Hang up."""
        self._http.sock = None
        self._wire.close()

    def _ask(
        self,
        method: str,
        path: str,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = _MAX_JSON,
    ) -> tuple[http.client.HTTPMessage, bytes]:
        self._wire.begin(seconds)
        try:
            self._http.request(method, self._path + path, body, {**self._headers, **(headers or {})})
            response = self._http.getresponse()
            content = response.read(limit + 1)
            if response.status != http.HTTPStatus.OK:
                raise ServerError(_refusal(response.status, content[:_MAX_JSON], binary=body is not None))
            if len(content) > limit or not response.isclosed():
                raise ServerError(f"its answer has more than {limit} bytes, which no answer of this model has")
        except (http.client.HTTPException, ValueError, OSError) as error:
            self.close()
            raise ServerError(f"it does not answer as HTTP has it ({said(error)[:_MAX_WHY]})") from None
        except ServerError:
            self.close()
            raise
        if response.will_close:
            self.close()
        return response.headers, content


class _Plug:
    """What ``http.client`` takes for a socket; it closes that before it has read an answer that is the last one."""

    def __init__(self, wire: Wire) -> None:
        self.sendall, self.makefile = wire.send, wire.makefile

    def close(self) -> None:
        """Left to who has the connection."""


def _refusal(status: int, content: bytes, *, binary: bool) -> str:
    """What the server says, where it says something in JSON as the protocol has it."""
    try:
        document = json.loads(content)
        why = document.get("error") or document.get("detail") if isinstance(document, dict) else document
    except (ValueError, RecursionError):
        why = content[:300].decode(errors="replace")
    # A server that takes JSON only stumbles over the first byte of a picture.
    unknown = "; where it takes JSON only, ask it by gRPC" if binary and status in (400, 415, 422) else ""
    return f"it refuses (HTTP {status}: {said(why)[:_MAX_WHY]}){unknown}"


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ServerError("its answer is no JSON object")
    return document


def _outputs(described: list[Any], data: memoryview) -> list[tuple[str, NDArray[Any]]]:
    found, begin = [], 0
    for one in described:
        tensor = _tensor(one)
        parameters = one.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if type(size) is not int or not 0 <= size <= len(data) - begin:
            raise ServerError(_NO_BINARY)
        found.append((tensor.name, as_array(tensor.name, tensor.datatype, tensor.shape, data[begin : begin + size])))
        begin += size
    if begin != len(data):
        raise ServerError(f"its answer has {len(data) - begin} bytes that belong to no output")
    return found


def _tensor(described: Any) -> Tensor:
    if not isinstance(described, dict):
        raise ServerError("it describes a tensor by something other than an object")
    shape = _list(described.get("shape"))
    if any(type(side) is not int for side in shape):
        raise ServerError("it describes a tensor by a shape that is not of whole numbers")
    return Tensor(_text(described.get("name")), _text(described.get("datatype")), tuple(shape))


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise ServerError("its answer has another form than KServe v2 gives it")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ServerError("its answer has another form than KServe v2 gives it")
    return value
