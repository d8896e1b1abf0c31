"""What a server may do to a line below the protocol: silence, drips, floods and lies, none of which lasts."""

from __future__ import annotations

import itertools
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from patchcore_edge_runtime import ConfigError
from patchcore_edge_runtime.serving.connect import connect
from patchcore_edge_runtime.serving.errors import ServerError
from patchcore_edge_runtime.serving.messages import message
from patchcore_edge_runtime.serving.settings import ServerSettings

FRAME = np.zeros((1, 8, 8, 3), np.uint8)
SETTINGS, ACKNOWLEDGED = b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0"
PING = b"\0\0\x08\6\0\0\0\0\0" + b"\0" * 8


@contextmanager
def answering(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """A port at which each connection is talked to in this way, until it fails."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def work(connection: socket.socket) -> None:
        with suppress(OSError):
            talk(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connections.append(listener.accept()[0])
                threading.Thread(target=work, args=(connections[-1],), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # closing alone lets `accept` wait
        accepting.join()
        listener.close()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def after_request(answer: bytes | Iterator[bytes]) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        for piece in [answer] if isinstance(answer, bytes) else answer:
            connection.sendall(piece)
        while connection.recv(1 << 16):
            pass

    return talk


def ask(way: str, port: int, seconds: float = 0.4) -> None:
    connection = connect(ServerSettings(uri=f"{way}://127.0.0.1:{port}/line3", timeout=seconds))
    try:
        connection.infer("frame", FRAME, ["pred_score", "anomaly_map"], seconds, 1024)
    finally:
        connection.close()


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


HTTP = b"HTTP/1.1 200 OK\r\n"
HTTP_FAULTS = {
    "no answer": iter(()),
    "a header byte by byte": (HTTP[:1] + bytes([piece]) for piece in itertools.cycle(b"x")),
    "headers without end": itertools.chain([HTTP], itertools.repeat(b"a: b\r\n")),
    "a line without end": itertools.repeat(b"x" * 1000),
    "continue without end": itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body without end": itertools.chain([HTTP + b"\r\n"], itertools.repeat(b"x" * 10_000)),
    "chunks without end": itertools.chain(
        [HTTP + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    ),
    "petabytes announced": HTTP + b"Content-Length: 999999999999999\r\n\r\n",
    "a length below zero": HTTP + b"Content-Length: -5\r\n\r\n",
    "nonsense": b"\x00\xff" * 100 + b"\r\n\r\n",
    "less than announced": HTTP + b"Content-Length: 900\r\nInference-Header-Content-Length: 3\r\n\r\n{}",
    "a header longer than the answer": HTTP + b"Content-Length: 2\r\nInference-Header-Content-Length: 900\r\n\r\n{}",
    "a header of another length": HTTP + b"Content-Length: 2\r\nInference-Header-Content-Length: two\r\n\r\n{}",
    "no header length": HTTP + b"Content-Length: 2\r\n\r\n{}",
    "a list": HTTP + b"Content-Length: 2\r\nInference-Header-Content-Length: 2\r\n\r\n[]",
    "depths": HTTP + b"Content-Length: 90000\r\nInference-Header-Content-Length: 90000\r\n\r\n" + b"[" * 90_000,
    "a redirection": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "an error and the end of the connection": b"HTTP/1.1 503 Busy\r\nConnection: close\r\n"
    b"Content-Length: 4\r\n\r\nbusy",
    "an error of megabytes": b"HTTP/1.1 500 Oh\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 9_000_000,
}


@pytest.mark.parametrize("what", list(HTTP_FAULTS))
def test_whatever_comes_by_http_ends_in_time_and_in_one_sentence(what: str) -> None:
    with answering(after_request(HTTP_FAULTS[what])) as port, pytest.raises(ServerError) as error:
        ask("http", port)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500
    assert "descriptor" not in str(error.value)


DOCUMENTS = {
    "outputs of another form": b'{"model_name": "line3", "outputs": {"a": 1}}',
    "an output that is a number": b'{"model_name": "line3", "outputs": [1]}',
    "a name that is a number": b'{"model_name": 3, "outputs": []}',
    "a size below zero": b'{"model_name": "line3", "outputs": [{"name": "a", "datatype": "FP32", "shape": [1], '
    b'"parameters": {"binary_data_size": -4}}]}',
    "a size beyond the answer": b'{"model_name": "line3", "outputs": [{"name": "a", "datatype": "FP32", "shape": [9], '
    b'"parameters": {"binary_data_size": 36}}]}',
    "a shape of texts": b'{"model_name": "line3", "outputs": [{"name": "a", "datatype": "FP32", "shape": ["1"], '
    b'"parameters": {"binary_data_size": 4}}]}',
    "a shape below zero": b'{"model_name": "line3", "outputs": [{"name": "a", "datatype": "FP32", "shape": [-1, -1], '
    b'"parameters": {"binary_data_size": 4}}]}',
    "a type of its own": b'{"model_name": "line3", "outputs": [{"name": "a", "datatype": "BF16", "shape": [2], '
    b'"parameters": {"binary_data_size": 4}}]}',
    "another request": b'{"model_name": "line3", "id": "17", "outputs": []}',
}


@pytest.mark.parametrize("what", list(DOCUMENTS))
def test_an_answer_of_another_form_is_refused(what: str) -> None:
    head, rest = DOCUMENTS[what], b"1234"
    header = f"Content-Length: {len(head + rest)}\r\nInference-Header-Content-Length: {len(head)}\r\n\r\n"
    with answering(after_request(HTTP + header.encode() + head + rest)) as port, pytest.raises(ServerError) as error:
        ask("http", port)
    assert "\n" not in str(error.value)


AT_THE_START = {
    "no answer": iter(()),
    "no agreement": SETTINGS,
    "settings without end": itertools.repeat(SETTINGS),
    "HTTP/1.1": HTTP + b"Content-Length: 2\r\n\r\n{}",
    "nonsense": b"\x00\xff" * 100,
    "a frame that is too long": b"\xff\xff\xff\0\0\0\0\0\1",
}


@pytest.mark.parametrize("what", list(AT_THE_START))
def test_what_does_not_agree_to_http2_is_no_connection(what: str) -> None:
    with answering(after_request(AT_THE_START[what])) as port, pytest.raises(ServerError) as error:
        connect(ServerSettings(uri=f"grpc://127.0.0.1:{port}/line3", timeout=0.4))
    assert "\n" not in str(error.value)


OK = frame(1, 4, 1, b"\x88")
STATUS_0 = frame(1, 5, 1, b"\x40\x0bgrpc-status\x010")
STATUS_13 = frame(1, 5, 1, b"\x40\x0bgrpc-status\x0213\x40\x0cgrpc-message\x05a%0A" + b"b")


def data(message: bytes) -> bytes:
    return frame(0, 0, 1, message)


GRPC_FAULTS = {
    "no answer": iter(()),
    "pings without end": itertools.repeat(PING),
    "the end of the connection": frame(7, 0, 0, b"\0" * 8),
    "the end of the request": frame(3, 0, 1, b"\0\0\0\2"),
    "gigabytes announced": OK + data(b"\0\xff\xff\xff\xff" + b"x" * 100),
    "more than announced": OK + data(b"\0\0\0\0\1" + b"x" * 100),
    "less than announced": OK + data(b"\0\0\0\0\x64" + b"x") + STATUS_0,
    "nothing": OK + STATUS_0,
    "something compressed": OK + data(b"\1\0\0\0\5" + b"x" * 5),
    "a message and no end": OK + data(b"\0\0\0\0\5" + b"x" * 5),
    "data without end": itertools.chain([OK + data(b"\0\0\0\4\0")], itertools.repeat(data(b"x" * 10_000))),
    "headers without end": itertools.chain([frame(1, 0, 1, b"\x88")], itertools.repeat(frame(9, 0, 1, b"\x88" * 1000))),
    "no status of gRPC": frame(1, 5, 1, b"\x88"),
    "a refusal of several lines": OK + STATUS_13,
    "no message of the protocol": OK + data(b"\0\0\0\0\5" + b"\xff" * 5) + STATUS_0,
    "another model's window": frame(8, 0, 0, b"\0\0\0\0"),
}


def after_grpc_request(answer: bytes | Iterator[bytes]) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        heard = connection.recv(1 << 16)
        connection.sendall(SETTINGS + ACKNOWLEDGED)
        while b"anomaly_map" not in heard:
            heard += connection.recv(1 << 16)
        for piece in [answer] if isinstance(answer, bytes) else answer:
            connection.sendall(piece)
        while connection.recv(1 << 16):
            pass

    return talk


@pytest.mark.parametrize("what", list(GRPC_FAULTS))
def test_whatever_comes_by_grpc_ends_in_time_and_in_one_sentence(what: str) -> None:
    with answering(after_grpc_request(GRPC_FAULTS[what])) as port, pytest.raises(ServerError) as error:
        ask("grpc", port)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, file = folder / "key.pem", folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    names = ["-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1", "-keyout", str(key), "-out", str(file)]
    subprocess.run([*words, *names], check=True, capture_output=True)
    return key, file


@pytest.mark.parametrize(("way", "protocol"), [("https", "http/1.1"), ("grpcs", "h2")])
def test_with_tls_a_server_is_asked_only_where_its_authority_vouches_for_it(
    way: str, protocol: str, tmp_path: Path
) -> None:
    key, file = certificate(tmp_path, "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file, key)
    context.set_alpn_protocols([protocol])
    heard: list[tuple[str | None, bytes]] = []

    def talk(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as connection:
            heard.append((connection.selected_alpn_protocol(), connection.recv(1 << 16)))

    with answering(talk) as port:
        address = f"{way}://127.0.0.1:{port}/line3"
        with pytest.raises(ServerError, match="vouches"):
            connect(ServerSettings(uri=address, timeout=5.0))
        assert heard == []
        with suppress(ServerError):
            connect(ServerSettings(uri=address, timeout=5.0, ca_file=file)).metadata(5.0)
    assert heard[0][0] == protocol
    assert heard[0][1].startswith(b"GET /v2/models/line3" if way == "https" else b"PRI * HTTP/2.0")


def test_a_file_without_a_certificate_is_said(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("none")
    for file in ("ca.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=file.replace(".", r"\.")):
            connect(ServerSettings(uri="https://127.0.0.1:1/line3", ca_file=tmp_path / file))


@pytest.mark.parametrize("package", ["h2.config", "google.protobuf"])
def test_grpc_without_its_packages_says_what_to_install(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    message.cache_clear()
    monkeypatch.setitem(sys.modules, package, None)
    with answering(after_request(b"")) as port, pytest.raises(ConfigError, match=r"patchcore-edge-runtime\[serving\]"):
        connect(ServerSettings(uri=f"grpc://127.0.0.1:{port}/line3"))


def test_http_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("h2.config", "google.protobuf"):
        monkeypatch.setitem(sys.modules, package, None)
    with answering(after_request(b"")) as port:
        connect(ServerSettings(uri=f"http://127.0.0.1:{port}/line3")).close()
