"""What a line shows of an address: never what could be a secret in it, wherever the maker of a camera put it."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path

import pytest
from conftest import good_part, run_cli
from line_records import make_record
from mjpeg_server import MjpegServer
from pydantic import ValidationError

from patchcore_edge_runtime import ConfigError, SourceError
from patchcore_edge_runtime.line.config import LineConfig
from patchcore_edge_runtime.line.runner import Line
from patchcore_edge_runtime.serving.settings import ServerAddress
from patchcore_edge_runtime.shown import name_fault, printable, shown, shown_url, shown_values
from patchcore_edge_runtime.sinks.base import secret
from patchcore_edge_runtime.sinks.registry import SINKS
from patchcore_edge_runtime.sinks.webhook import WebhookSettings, WebhookSink
from patchcore_edge_runtime.sources import LiveSettings, open_source
from patchcore_edge_runtime.sources.address import Address
from patchcore_edge_runtime.verdict import Verdict

FORMS = {
    "before the machine": ("rtsp://admin:hunter2@10.0.0.7:554/live", "rtsp://10.0.0.7:554/..."),
    "with an at sign": ("http://a:hun@ter2@10.0.0.7/", "http://10.0.0.7"),
    "with a slash": ("rtsp://admin:hun/ter2@10.0.0.7/live", "rtsp://..."),
    "digits and a slash": ("rtsp://admin:12/hunter2@10.0.0.7/live", "rtsp://..."),
    "with a question mark": ("rtsp://admin:hun?ter2@10.0.0.7/live", "rtsp://..."),
    "with a number sign": ("rtsp://admin:hun#ter2@10.0.0.7/live", "rtsp://..."),
    "with a backslash": ("rtsp://admin:hun\\ter2@10.0.0.7/live", "rtsp://..."),
    "percent-encoded": ("rtsp://admin:hun%74er2@10.0.0.7/live", "rtsp://10.0.0.7/..."),
    "an encoded at sign": ("rtsp://admin%3Ahunter2%40camera/live", "rtsp://..."),
    "an encoded at sign behind a slash": ("http://camera/hunter2%40x", "http://..."),
    "no password": ("rtsp://hunter2@camera-3.plant.example/live", "rtsp://camera-3.plant.example/..."),
    "in the query": ("http://camera/shot.jpg?user=admin&pwd=hunter2", "http://camera/..."),
    "in the query of a bare machine": ("http://camera?hunter2", "http://camera/..."),
    "in the path, as recorders have it": (
        "rtsp://10.0.0.7/user=admin_password=hunter2_channel=1",
        "rtsp://10.0.0.7/...",
    ),
    "a segment of the path": ("https://hooks.example:8443/services/T00/hunter2", "https://hooks.example:8443/..."),
    "in the fragment": ("http://camera/#hunter2", "http://camera/..."),
    "in place of a port": ("http://camera:hunter2/x", "http://..."),
    "a machine by number": ("http://u:hunter2@[fe80::1]:8080/x", "http://[fe80::1]:8080/..."),
    "another scheme": ("mqtts://u:hunter2@broker:8883", "mqtts://broker:8883"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_url_shows_its_machine_and_nothing_else(form: str) -> None:
    url, expected = FORMS[form]
    assert shown_url(url) == expected
    assert shown(f"The camera ({url}) is away: {url}, twice.") == f"The camera ({expected}) is away: {expected}, twice."
    sentence = shown(f"Not for {url}; leave it out. ({url})")
    assert shown(sentence) == sentence, "what an error says of another one"
    assert shown_values({"uri": [url]}) == {"uri": [expected]}
    assert str(ConfigError(f"{url} is wrong.")) == f"{expected} is wrong."


@pytest.mark.parametrize("text", ["0", "/dev/video0", "images/a.png", "watch:in", "C:\\images", "a@b.example", ""])
def test_what_is_no_url_is_shown_as_it_is(text: str) -> None:
    assert shown_url(text) == text
    assert shown(text) == text


def test_a_url_behind_a_space_shows_no_more() -> None:
    assert shown_url(" http://camera/x?pwd=hunter2") == " http://camera/..."
    assert shown_values([" rtsp://u:hunter2@camera/"]) == [" rtsp://camera"]


@pytest.mark.parametrize("name", ["hunter2", "Hunter2Hunter2", "7HUNTER2", "S3CR3T/HUNTER2="])
def test_a_secret_in_the_place_of_its_variables_name_is_not_said(name: str) -> None:
    with pytest.raises(ConfigError, match=r"_env names .* is not set") as caught:
        secret(name)
    assert name not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://u:hunter2@ho\u2100st/m", "http://h:hunter2/m", "http://[hunter2]/m", "grpc://h:hunter2/m"]
)
def test_what_is_no_url_is_not_said(url: str) -> None:
    for read in (ServerAddress.parse, lambda url: Address.parse(url).split()):
        with pytest.raises((ConfigError, SourceError)) as caught:
            read(url)
        assert "hunter2" not in str(caught.value)


def test_what_comes_from_outside_neither_fills_nor_paints_the_log() -> None:
    assert len(shown("x" * 1_000_000)) < 5_000
    assert "\x1b" not in shown("HTTP 500 \x1b[2J\x1b]0;pwned\x07")
    assert printable("a\nb\udce4c\u202ed") == "a\ufffdb\ufffdc\ufffdd"
    assert name_fault("part 17 – Gehäuse") == ""
    assert name_fault("x" * 201)
    assert name_fault("a\tb")


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("path", ["hook/hunter2", "hook?key=hunter2", "hunter2"])
def test_a_webhooks_secret_is_not_in_its_error(path: str, closed_port: int) -> None:
    sink = WebhookSink(WebhookSettings(url=f"http://127.0.0.1:{closed_port}/{path}", retries=0))
    with pytest.raises(ConfigError) as caught:
        sink.write(make_record(Verdict.OK))
    assert "hunter2" not in str(caught.value)
    assert f"127.0.0.1:{closed_port}" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://u:hunter2@hooks.example/x",
        "https://hooks.example:hunter2/x",
        "https://hooks.example/hook/hunter2 and more",
        "https://hooks.example/hünter2",
        "https://hooks.example/hook?hunter2\t",
        "https://hooks.example:99999/hunter2",
        "https://hooks.example\\hunter2",
    ],
)
def test_what_no_webhook_is_asked_by_is_refused_at_the_start_without_showing_it(url: str) -> None:
    """The library says it whole, with each record that it then cannot send."""
    with pytest.raises(ConfigError) as caught:
        WebhookSettings(url=url)
    assert "hunter2" not in str(caught.value)
    assert "hünter2" not in str(caught.value)


@pytest.mark.parametrize("begins", ["", "rtsp:", "rtsp:/", "tcp:", "//"])
def test_a_cameras_address_that_lacks_its_beginning_is_refused_without_its_password(begins: str) -> None:
    for machine in ("camera-3/live", "127.0.0.1:554/live"):
        with pytest.raises(SourceError, match="rtsp://") as caught:
            open_source(f"{begins}admin:hunter2/x@{machine}")
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "form", ["http://u:hunter2@{}/x", "http://{}/x?pwd=hunter2", "rtsp://{}/hunter2", "x-cam://{}/hunter2"]
)
def test_a_camera_that_is_not_there_is_named_without_its_password(
    form: str, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SourceError) as caught:
        open_source(form.format(f"127.0.0.1:{closed_port}"), LiveSettings(open_timeout=1, read_timeout=1))
    assert "hunter2" not in str(caught.value) + caplog.text


def test_a_lines_records_log_and_status_hold_no_secret(
    tiny_bundle: Path, tmp_path: Path, closed_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    camera = MjpegServer(lambda _: good_part())
    uri = camera.url.replace("://", "://admin:hunter2@") + "?key=hunter2"
    sinks = {
        "jsonl": {"path": "r.jsonl"},
        "webhook": {"url": f"http://127.0.0.1:{closed_port}/hunter2", "retries": 0},
    }
    config = LineConfig(bundle=tiny_bundle, source={"uri": uri}, sinks=sinks, folder=tmp_path)
    seen = 0

    class Enough:
        def write(self, _: object) -> None:
            nonlocal seen
            seen += 1
            if seen == 3:
                camera.stop()
            if seen == 4:
                line.source.stop()

        def close(self) -> None:
            pass

    with Line.open(config, sinks={"enough": Enough()}) as line:
        snapshot = line.run().snapshot()
    camera.stop()
    records = (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    told = records + caplog.text + json.dumps(snapshot.to_dict()) + json.dumps(snapshot.summary())
    assert records.count("\n") >= 4
    assert f"127.0.0.1:{camera.port}/..." in records
    assert "hunter2" not in told


def test_check_shows_no_secret(tiny_bundle: Path, tmp_path: Path) -> None:
    config = tmp_path / "line.toml"
    config.write_text(
        f"bundle = '{tiny_bundle}'\n[source]\nuri = 'http://camera/x?pwd=hunter2'\n"
        "[sinks.webhook]\nurl = 'https://hooks.example/hunter2'\n"
    )
    for words in ((), ("--json",)):
        done = run_cli("check", "-c", config, *words, program="patchcore_edge_runtime")
        assert done.returncode == 0, done.stderr
        assert "hunter2" not in done.stdout + done.stderr
    assert json.loads(done.stdout)["sinks"]["webhook"]["url"] == "https://hooks.example/..."


@pytest.mark.parametrize("name", ["mqtt", "modbus", "http"])
def test_a_machine_is_no_url(name: str) -> None:
    for host in ("u:hunter2@broker", "mqtt://u:hunter2@broker", "broker/hunter2", "", "x" * 300):
        with pytest.raises(ValidationError, match=r"is not the name|needs token_env") as caught:
            SINKS[name].Settings.model_validate({"host": host, "token_env": "T"} if name == "http" else {"host": host})
        assert "hunter2" not in "".join(fault["msg"] for fault in caught.value.errors())
