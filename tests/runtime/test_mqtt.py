"""Against mosquitto, started on a loopback port."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from camera_server import certificate
from line_records import free_port, make_record, program, wait_for

from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.sinks import MqttSink
from patchcore_edge_runtime.sinks.mqtt import MqttSettings
from patchcore_edge_runtime.sinks.spool import Spool

paho = pytest.importorskip("paho.mqtt.client", reason="needs the package paho-mqtt")
enums = pytest.importorskip("paho.mqtt.enums", reason="needs the package paho-mqtt")


@contextmanager
def broker(folder: Path, port: int, *lines: str) -> Iterator[subprocess.Popen[bytes]]:
    config = folder / f"mosquitto-{port}.conf"
    # Debian's build drops to a user who may not read the test's folder.
    head = [f"listener {port} 127.0.0.1", "allow_anonymous true", "log_type none", "user root"]
    config.write_text("\n".join([*head, *lines]) + "\n")
    server = subprocess.Popen([program("mosquitto"), "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield server
    finally:
        # Asked, not killed: it saves its sessions.
        server.terminate()
        server.wait()


class Listener:
    """A subscriber that remembers everything below ``line``."""

    def __init__(self, port: int, **tls: Any) -> None:
        self.results, self.states, self.ready = [], [], False
        # The broker keeps for it what comes while it is away.
        self.client = paho.Client(enums.CallbackAPIVersion.VERSION2, "listener", clean_session=False)
        self.client.on_connect = lambda client, *_: client.subscribe("line/#", qos=1)
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self.client.reconnect_delay_set(1, 1)
        if tls:
            self.client.tls_set(**tls)
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()
        wait_for(lambda: self.ready)

    def _on_subscribe(self, *_: Any) -> None:
        self.ready = True

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        text = message.payload.decode()
        if message.topic == "line/state":
            self.states.append(text)
        else:
            self.results.append(json.loads(text)["frame"])

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def settings(port: int, **more: Any) -> MqttSettings:
    return MqttSettings(port=port, topic="line", keepalive=5, **more)


def test_records_arrive_in_order_and_the_state_is_announced(tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port):
        listener = Listener(port)
        sink = MqttSink(settings(port))
        for index in range(50):
            sink.write(make_record(index=index))
        sink.close()
        wait_for(lambda: listener.states[-1:] == ["offline"])
        assert listener.results == list(range(50))
        assert listener.states == ["online", "offline"]
        assert sink.pending == 0
        listener.close()


def test_records_wait_on_disk_while_the_broker_is_away_and_across_a_restart(tmp_path: Path) -> None:
    port = free_port()
    spooled = settings(port, spool=Path("spool.db"), flush_seconds=0.1)
    sink = MqttSink(spooled, tmp_path)
    for index in range(30):
        sink.write(make_record(index=index))
    assert sink.pending == 30
    assert "cannot be reached" in sink.trouble.text
    sink.close()
    with broker(tmp_path, port):
        listener = Listener(port)
        sink = MqttSink(spooled, tmp_path)
        wait_for(lambda: len(listener.results) == 30)
        assert listener.results == list(range(30))
        wait_for(lambda: sink.pending == 0)
        assert sink.trouble.text == ""
        sink.close()
        listener.close()


def test_a_broker_that_is_restarted_misses_nothing(tmp_path: Path) -> None:
    port = free_port()
    persistence = ("persistence true", f"persistence_location {tmp_path}/")
    with broker(tmp_path, port, *persistence):
        listener = Listener(port)
        sink = MqttSink(settings(port))
        sink.write(make_record(index=0))
        wait_for(lambda: sink.pending == 0)
    wait_for(lambda: "is away" in sink.trouble.text)
    for index in range(1, 20):
        sink.write(make_record(index=index))
    with broker(tmp_path, port, *persistence):
        wait_for(lambda: set(listener.results) == set(range(20)))
        wait_for(lambda: sink.pending == 0)
        sink.close()
        listener.close()


def test_the_broker_announces_the_end_of_a_line_that_died(tmp_path: Path) -> None:
    port = free_port()
    code = "import sys; sys.path.insert(0, sys.argv[2])\nfrom test_mqtt_child import main\nmain(int(sys.argv[1]))"
    child = tmp_path / "test_mqtt_child.py"
    child.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from patchcore_edge_runtime.sinks import MqttSink\n"
        "from patchcore_edge_runtime.sinks.mqtt import MqttSettings\n"
        "def main(port):\n"
        "    MqttSink(MqttSettings(port=port, topic='line', keepalive=5), Path())\n"
        "    time.sleep(60)\n"
    )
    with broker(tmp_path, port):
        listener = Listener(port)
        line = subprocess.Popen([sys.executable, "-c", code, str(port), str(tmp_path)])
        wait_for(lambda: listener.states == ["online"])
        line.kill()
        line.wait()
        wait_for(lambda: listener.states == ["online", "offline"])
        listener.close()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
def test_a_broker_may_be_reached_by_tls_only_when_its_authority_is_known(tmp_path: Path) -> None:
    port = free_port()
    ca, ca_key, key, request, cert = (str(tmp_path / name) for name in ("ca.pem", "ca.key", "s.key", "s.csr", "s.pem"))
    openssl = program("openssl")
    extensions = tmp_path / "san.cnf"
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    authority = ("-subj", "/CN=test authority", "-addext", "keyUsage=critical,keyCertSign")
    signing = ("-days", "2", "-extfile", str(extensions))
    for words in (
        ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", ca_key, "-out", ca, "-days", "2", *authority),
        ("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", request, "-subj", "/CN=broker"),
        ("x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", cert, *signing),
    ):
        subprocess.run([openssl, *words], check=True, capture_output=True)
    with broker(tmp_path, port, f"cafile {ca}", f"certfile {cert}", f"keyfile {key}"):
        listener = Listener(port, ca_certs=ca)
        # Without the authority's certificate there is no connection, and nothing in clear.
        stranger = MqttSink(settings(port, tls=True, client_id="stranger", flush_seconds=0.1))
        known = MqttSink(settings(port, ca_file=Path(ca)))
        known.write(make_record(index=3))
        wait_for(lambda: listener.results == [3])
        known.close()
        stranger.write(make_record(index=4))
        assert stranger.pending == 1
        with pytest.raises(ConfigError, match="1 records were not delivered"):
            stranger.close()
        assert listener.results == [3]
        listener.close()
        del stranger
        gc.collect()


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket")
@pytest.mark.parametrize(
    ("name", "days", "said"),
    [("IP:127.0.0.1", 2, ""), ("IP:127.0.0.1", -1, "expired"), ("DNS:other.example", 2, "mismatch")],
    ids=["its own", "expired", "of another machine"],
)
def test_why_a_broker_is_not_believed_is_said(name: str, days: int, said: str, tmp_path: Path) -> None:
    port = free_port()
    pem, key = certificate(tmp_path, "broker", "-addext", f"subjectAltName={name}")
    words = ["x509", "-in", str(pem), "-signkey", str(key), "-days", str(days), "-out", str(tmp_path / "signed.pem")]
    subprocess.run([program("openssl"), *words], check=True, capture_output=True)
    with broker(tmp_path, port, f"certfile {tmp_path / 'signed.pem'}", f"keyfile {key}"):
        sink = MqttSink(settings(port, ca_file=tmp_path / "signed.pem", flush_seconds=0.1))
        wait_for(lambda: said in sink.trouble.text if said else not sink.trouble.text)
        sink.close()
        gc.collect()


def test_why_a_broker_is_not_there_is_said() -> None:
    port = free_port()
    sink = MqttSink(settings(port, flush_seconds=0.1))
    wait_for(lambda: f"127.0.0.1:{port} cannot be reached (Connection refused)" in sink.trouble.text)
    sink.close()


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "client")
    locked = tmp_path / "locked.key"
    words = [program("openssl"), "pkey", "-in", str(key), "-aes256", "-passout", "pass:hunter2", "-out", str(locked)]
    subprocess.run(words, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="may have no password"):
        MqttSink(settings(1883, tls=True, cert_file=pem, key_file=locked))
    MqttSink(settings(1883, tls=True, cert_file=pem, key_file=key, flush_seconds=0.1)).close()


def test_a_missing_authority_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="TLS files"):
        MqttSink(settings(1883, ca_file=Path("missing.pem")), tmp_path)


def test_a_full_spool_loses_the_oldest_and_says_so() -> None:
    sink = MqttSink(settings(free_port(), spool_limit=3, flush_seconds=0.1))
    for index in range(3):
        sink.write(make_record(index=index))
    with pytest.raises(ConfigError, match="oldest of 3"):
        sink.write(make_record(index=3))
    assert sink.pending == 3
    with pytest.raises(ConfigError, match="3 records were not delivered"):
        sink.close()


def test_a_spool_is_first_in_first_out_across_a_restart(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", 3)
    assert [spool.append(text) for text in "abcd"] == [0, 0, 0, 1]
    spool.close()
    spool = Spool(tmp_path / "spool.db", 3)
    assert [text for _, text in spool.oldest(9)] == ["b", "c", "d"]
    spool.remove(spool.oldest(1)[0][0])
    assert len(spool) == 2
    spool.close()


def test_a_topic_with_wildcards_is_refused() -> None:
    with pytest.raises(ValueError, match="topic"):
        MqttSettings(topic="line/#")
