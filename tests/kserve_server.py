"""A small server of KServe v2, by HTTP and by gRPC, over loopback: with OpenVINO behind it, and faults on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import openvino

from patchcore_edge_runtime.serving.messages import SERVICE, message

DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


class Graph:
    """The newest version of a model in a repository, or the one that is named."""

    def __init__(self, folder: Path, version: int | None = None) -> None:
        core = openvino.Core()
        self.version = str(version or max(int(one.name) for one in folder.iterdir() if one.name.isdecimal()))
        config = {"INFERENCE_PRECISION_HINT": "f32"}
        self.compiled = core.compile_model(core.read_model(folder / self.version / "model.xml"), "CPU", config)
        self._lock = threading.Lock()

    def infer(self, data: np.ndarray) -> dict[str, np.ndarray]:
        with self._lock:
            found = self.compiled([data])
        return {port.any_name: found[port].copy() for port in self.compiled.outputs}


Outputs = dict[str, np.ndarray]


@dataclass
class Fault:
    """What a server does otherwise than it should.

    Attributes:
        outputs: changes the outputs.
        name, version, number: answers for another model, version or request.
        delay: seconds before an answer.
        refuse: answers with an error.
        unready: says that no model is ready.
        metadata: changes what it says of the model.
        typed: answers by gRPC in numbers and not in raw bytes; by HTTP in JSON.
    """

    outputs: Callable[[Outputs], Outputs] = lambda outputs: outputs
    name: str | None = None
    version: str | None = None
    number: str | None = None
    delay: float = 0.0
    refuse: bool = False
    unready: bool = False
    metadata: Callable[[dict[str, Any]], dict[str, Any]] = lambda document: document
    typed: bool = False


@dataclass
class KServeServer:
    """Models by name, asked by HTTP and by gRPC; ports are kept from one start to the next."""

    models: dict[str, Graph]
    fault: Fault = field(default_factory=Fault)
    http_port: int = 0
    grpc_port: int = 0
    asked: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.ended = threading.Event()
        self._http = _HttpServer(("127.0.0.1", self.http_port), _Handler)
        self._http.kserve = self
        self.http_port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self._pool = ThreadPoolExecutor(8)
        self._grpc = grpc.server(self._pool, options=[("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers([_handlers(self)])
        self.grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()

    def stop(self) -> None:
        self.ended.set()
        self._http.shutdown()
        self._http.end_connections()
        self._http.server_close()
        self._grpc.stop(0).wait()
        self._pool.shutdown()

    def url(self, way: str, model: str) -> str:
        return f"{way}://127.0.0.1:{self.grpc_port if way == 'grpc' else self.http_port}/{model}"

    def metadata(self, name: str) -> dict[str, Any]:
        if self.fault.unready or name not in self.models:
            raise LookupError(f"no model {name}")
        graph = self.models[name]
        described = {
            kind: [
                {
                    "name": port.any_name,
                    "datatype": DATATYPES[port.element_type.to_dtype().name],
                    "shape": list(port.shape),
                }
                for port in ports
            ]
            for kind, ports in (("inputs", graph.compiled.inputs), ("outputs", graph.compiled.outputs))
        }
        return self.fault.metadata({"name": self.fault.name or name, "versions": [graph.version], **described})

    def infer(self, name: str, version: str, data: np.ndarray) -> tuple[str, str, Outputs]:
        fault = self.fault
        self.asked.append((name, data.shape))
        if fault.delay:
            self.ended.wait(fault.delay)
        if fault.refuse:
            raise ValueError("the device is lost")
        graph = self.models[name]
        if version not in ("", graph.version):
            raise LookupError(f"no version {version}")
        outputs = graph.infer(data)
        if not name.endswith("-bundle"):
            outputs = fault.outputs(outputs)
        return fault.name or name, fault.version or graph.version, outputs


@contextmanager
def serving(models: Mapping[str, Graph]) -> Iterator[KServeServer]:
    server = KServeServer(dict(models))
    server.start()
    try:
        yield server
    finally:
        server.stop()


class _HttpServer(ThreadingHTTPServer):
    kserve: KServeServer
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *args: Any) -> None:
        self.connections: set[Any] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def end_connections(self) -> None:
        for connection in self.connections:
            self.shutdown_request(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        name, _, last = self._path()
        try:
            document = self.server.kserve.metadata(name)
        except LookupError as error:
            return self._answer(404, {"error": str(error)})
        return self._answer(200, {"name": name, "ready": True} if last == "ready" else document)

    def do_POST(self) -> None:
        name, version, _ = self._path()
        kserve = self.server.kserve
        kserve.tokens.append(self.headers.get("Authorization", ""))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers["Inference-Header-Content-Length"])
        request = json.loads(body[:length])
        tensor = request["inputs"][0]
        assert tensor["parameters"]["binary_data_size"] == len(body) - length
        data = np.frombuffer(body[length:], np.uint8).reshape(tensor["shape"])
        try:
            model, version, outputs = kserve.infer(name, version, data)
        except (LookupError, ValueError) as error:
            return self._answer(404 if isinstance(error, LookupError) else 500, {"error": str(error)})
        described, rest = [], b""
        for output, array in outputs.items():
            one = {"name": output, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}
            if kserve.fault.typed:
                one["data"] = array.ravel().tolist()
            else:
                one["parameters"] = {"binary_data_size": array.nbytes}
                rest += array.tobytes()
            described.append(one)
        number = kserve.fault.number or request["id"]
        return self._answer(
            200, {"model_name": model, "model_version": version, "id": number, "outputs": described}, rest
        )

    def _path(self) -> tuple[str, str, str]:
        parts = self.path.removeprefix("/v2/models/").split("/")
        return parts[0], parts[2] if len(parts) > 2 and parts[1] == "versions" else "", parts[-1]

    def _answer(self, status: int, document: dict[str, Any], rest: bytes = b"") -> None:
        head = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(head) + len(rest)))
        if rest:
            self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.end_headers()
        self.wfile.write(head + rest)


class _Calls:
    """What gRPC asks for."""

    def __init__(self, kserve: KServeServer) -> None:
        self.kserve = kserve

    def ready(self, request: Any, _: grpc.ServicerContext) -> Any:
        ready = not self.kserve.fault.unready and request.name in self.kserve.models
        return message("ModelReadyResponse")(ready=ready)

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            document = self.kserve.metadata(request.name)
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        return message("ModelMetadataResponse")(**document)

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.kserve.tokens.append(dict(context.invocation_metadata()).get("authorization", ""))
        tensor = request.inputs[0]
        data = np.frombuffer(request.raw_input_contents[0], np.uint8).reshape(tensor.shape)
        try:
            name, version, outputs = self.kserve.infer(request.model_name, request.model_version, data)
        except (LookupError, ValueError) as error:
            lost = isinstance(error, LookupError)
            context.abort(grpc.StatusCode.NOT_FOUND if lost else grpc.StatusCode.INTERNAL, str(error))
        number = self.kserve.fault.number or request.id
        answer = message("ModelInferResponse")(model_name=name, model_version=version, id=number)
        for output, array in outputs.items():
            one = answer.outputs.add(name=output, datatype=DATATYPES[array.dtype.name], shape=array.shape)
            if not self.kserve.fault.typed:
                answer.raw_output_contents.append(array.tobytes())
            elif array.dtype == np.float32:
                one.contents.fp32_contents.extend(array.ravel().tolist())
            else:
                one.contents.uint_contents.extend(array.ravel().tolist())
        return answer


def _handlers(kserve: KServeServer) -> grpc.GenericRpcHandler:
    calls = _Calls(kserve)
    methods = {"ModelReady": calls.ready, "ModelMetadata": calls.metadata, "ModelInfer": calls.infer}
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            name: grpc.unary_unary_rpc_method_handler(
                work,
                request_deserializer=message(f"{name}Request").FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            for name, work in methods.items()
        },
    )
