"""Network cameras for tests: real HTTP servers on loopback that send what a test says."""

from __future__ import annotations

import hashlib
import secrets
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from line_records import program

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def camera(answer: Answer, certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    """Serves ``answer``; gives ``http://HOST:PORT``, or ``https`` where there are a certificate and its key."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            try:
                answer(self)
            except OSError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, kind: str = "image/jpeg", length: int | None = None) -> None:
    """One answer with its length, which may be a lie."""
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def stream(kind: str, *pieces: bytes) -> Answer:
    """Sends the pieces one after the other and hangs up."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.end_headers()
        for piece in pieces:
            handler.wfile.write(piece)
            handler.wfile.flush()

    return answer


class Guard:
    """What a camera asks of its visitors: digest as RFC 7616 has it, checked from the standard, or basic.

    Args:
        user, password: that are let in.
        offers: the headers that ask; ``NONCE`` in them is replaced.
        once: a nonce is good for one request.

    Attributes:
        refused: requests without the right words.
        seen: the headers that were accepted.
    """

    def __init__(self, user: str, password: str, offers: tuple[str, ...], once: bool = False) -> None:
        self._user, self._password, self._offers, self._once = user, password, offers, once
        self._nonce = secrets.token_hex(8)
        self.refused = 0
        self.seen: list[str] = []

    def admits(self, handler: BaseHTTPRequestHandler) -> bool:
        """Whether the visitor is let in; answers 401 otherwise."""
        said = handler.headers.get("Authorization", "")
        if self._right(said, handler.path):
            self.seen.append(said)
            self._nonce = secrets.token_hex(8) if self._once else self._nonce
            return True
        self.refused += 1
        self._nonce = secrets.token_hex(8) if self._once else self._nonce
        handler.send_response(401)
        for offer in self._offers:
            handler.send_header("WWW-Authenticate", offer.replace("NONCE", self._nonce))
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return False

    def _right(self, said: str, path: str) -> bool:
        scheme, _, rest = said.partition(" ")
        if scheme == "Basic":
            import base64

            return base64.b64decode(rest).decode() == f"{self._user}:{self._password}"
        if scheme != "Digest":
            return False
        words = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
        make = hashlib.sha256 if words.get("algorithm", "MD5").upper().startswith("SHA-256") else hashlib.md5

        def digest(*parts: str) -> str:
            return make(":".join(parts).encode()).hexdigest()

        first = digest(words["username"], words["realm"], self._password)
        if words.get("algorithm", "").upper().endswith("-SESS"):
            first = digest(first, words["nonce"], words["cnonce"])
        second = digest("GET", words["uri"])
        middle = [words["nc"], words["cnonce"], words["qop"]] if "qop" in words else []
        wanted = digest(first, words["nonce"], *middle, second)
        fits = words["nonce"] == self._nonce and words["uri"] == path and words["username"] == self._user
        return fits and secrets.compare_digest(wanted, words["response"])


def certificate(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    """A certificate of its own making and its key, by OpenSSL."""
    pem, key = folder / f"{name}.pem", folder / f"{name}.key"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=camera", "-keyout", str(key), "-out", str(pem), *options]
    subprocess.run([program("openssl"), *words], check=True, capture_output=True)
    return pem, key
