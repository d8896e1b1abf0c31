"""Cameras by URL: snapshots, logins, certificates, and passwords that nobody sees."""

from __future__ import annotations

import gzip
import hashlib
import logging
import ssl
import time
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path

import cv2
import pytest
from camera_server import Guard, camera, certificate, send, stream
from conftest import good_part

from patchcore_edge_runtime import SourceError, open_source
from patchcore_edge_runtime.errors import ConfigError
from patchcore_edge_runtime.shown import shown_url
from patchcore_edge_runtime.sources import Frame, LiveSettings, LiveSource
from patchcore_edge_runtime.sources.address import Address

JPEG = cv2.imencode(".jpg", good_part())[1].tobytes()
QUICK = {"open_timeout": 3, "read_timeout": 1.5, "max_backoff": 0.1, "interval": 0.02}
PASSWORD = 'se"cr:e t'


def take(url: str, count: int = 4, **settings: object) -> list[Frame]:
    """The first frames of a source."""
    source = open_source(url, LiveSettings.model_validate({**QUICK, **settings}))
    assert isinstance(source, LiveSource)
    frames: list[Frame] = []
    end = time.monotonic() + 20
    while len(frames) < count and time.monotonic() < end:
        frame = source.poll(timeout=0.1)
        if frame is not None:
            frames.append(frame)
    source.close()
    return frames


def whole(frames: list[Frame]) -> list[bool]:
    return [frame.image is not None and frame.image.shape == (80, 80, 3) for frame in frames]


@pytest.mark.parametrize("kind", ["image/jpeg", "image/jpg", "application/octet-stream", "text/plain"])
def test_a_snapshot_address_is_asked_again_and_again_without_an_error_between(kind: str) -> None:
    with camera(lambda handler: send(handler, JPEG, kind)) as url:
        frames = take(f"{url}/snapshot.jpg?channel=1")
    assert whole(frames) == [True] * 4
    assert {frame.error for frame in frames} == {""}


def test_a_camera_that_hangs_up_after_each_picture_is_asked_all_the_same() -> None:
    def once(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        send(handler, JPEG)

    with camera(once) as url:
        assert whole(take(url)) == [True] * 4


def test_the_interval_is_the_time_between_two_questions() -> None:
    asked: list[float] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(time.monotonic())
        send(handler, JPEG)

    with camera(answer) as url:
        # Longer than a camera may be silent: it is not asked, so it is not lost.
        frames = take(url, 3, interval=0.5, read_timeout=0.3)
    assert whole(frames) == [True] * 3
    assert min(later - earlier for earlier, later in pairwise(asked)) > 0.4


def test_cut_off_and_damaged_snapshots_are_errors_and_the_next_one_counts() -> None:
    bodies = iter([JPEG, JPEG[: len(JPEG) // 2], JPEG, JPEG[:-200] + b"\xff\x11" + JPEG[-198:], *[JPEG] * 9])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        send(handler, next(bodies, JPEG), length=len(JPEG))

    with camera(answer) as url:
        frames = take(url, 5, interval=0.2)
    assert whole(frames) == [True, False, True, False, True]
    assert "no whole picture" in frames[1].error


def test_other_kinds_of_pictures_are_snapshots_too() -> None:
    png = cv2.imencode(".png", good_part())[1].tobytes()
    with camera(lambda handler: send(handler, png, "image/png")) as url:
        assert whole(take(url, 2)) == [True, True]


def test_a_web_page_is_no_picture_and_what_is_wanted_is_said() -> None:
    with (
        camera(lambda handler: send(handler, b"<html>log in</html>", "text/html")) as url,
        pytest.raises(SourceError, match="answers with a web page"),
    ):
        open_source(url, LiveSettings(open_timeout=2))


def test_answers_that_are_packed_once_more_are_said_to_be() -> None:
    packed = gzip.compress(cv2.imencode(".jpg", good_part())[1].tobytes())

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        for name, value in (("Content-Type", "image/jpeg"), ("Content-Encoding", "gzip")):
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(packed)))
        handler.end_headers()
        handler.wfile.write(packed)

    with camera(answer) as url, pytest.raises(SourceError, match=r"packed once more \(gzip\).*switch that off"):
        open_source(url, LiveSettings(open_timeout=2))


DIGEST = 'Digest realm="cam, era=1", nonce="NONCE", qop="auth,auth-int", opaque="x"'


@pytest.mark.parametrize(
    ("offers", "chosen"),
    [
        (('Basic realm="camera"',), "Basic"),
        ((DIGEST,), "Digest"),
        (('Digest realm="old", nonce="NONCE"',), "Digest"),
        (('Basic realm="camera"', DIGEST), "Digest"),
        ((f'{DIGEST}, Basic realm="camera"',), "Digest"),
        (("Negotiate", DIGEST), "Digest"),
        ((DIGEST + ", algorithm=MD5", DIGEST + ", algorithm=SHA-256"), "algorithm=SHA-256"),
        ((DIGEST + ", algorithm=SHA-512-256", DIGEST + ", algorithm=MD5-sess"), "algorithm=MD5-sess"),
    ],
)
def test_a_login_is_answered_as_the_camera_asks_and_digest_before_basic(offers: tuple[str, ...], chosen: str) -> None:
    guard = Guard("admin", PASSWORD, offers)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if guard.admits(handler):
            send(handler, JPEG)

    with camera(answer) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMERA_PASSWORD", PASSWORD)
        frames = take(f"{url}/cgi/snap?channel=1&x=a b", username="admin", password_env="CAMERA_PASSWORD")
    assert whole(frames) == [True] * 4
    assert all(chosen in said for said in guard.seen)
    assert guard.refused == 1, "what the camera asks for is remembered"


def test_user_and_password_in_the_address_log_in_to_a_stream_too() -> None:
    guard = Guard("admin", "p@ss/w#rd?", (DIGEST,))
    part = b"--b\r\nContent-Type: image/jpeg\r\n\r\n" + JPEG + b"\r\n"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if guard.admits(handler):
            stream("multipart/x-mixed-replace; boundary=b", *[part] * 50)(handler)

    with camera(answer) as url:
        login = "admin:p%40ss%2Fw%23rd%3F@"
        assert whole(take(url.replace("://", f"://{login}") + "/v", 1)) == [True]


def test_a_camera_whose_every_question_is_good_for_one_answer_is_answered_each_time() -> None:
    guard = Guard("admin", PASSWORD, (DIGEST,), once=True)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if guard.admits(handler):
            send(handler, JPEG)

    with camera(answer) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAMERA_PASSWORD", PASSWORD)
        assert whole(take(url, username="admin", password_env="CAMERA_PASSWORD")) == [True] * 4


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_a_wrong_password_is_tried_once_and_said_without_the_password(password: str, once: bool) -> None:
    guard = Guard("admin", "right", (DIGEST,), once)
    with camera(guard.admits) as url, pytest.raises(SourceError) as error:
        open_source(url.replace("://", f"://admin:{password}@") if password else url, LiveSettings(open_timeout=2))
    assert "correct username and password_env" in str(error.value) or "give username" in str(error.value)
    assert guard.refused == (2 if password else 1)
    assert "wrong" not in str(error.value)


def test_a_password_goes_to_no_other_machine_and_is_not_sent_again_over_http() -> None:
    said: list[str] = []

    def other(handler: BaseHTTPRequestHandler) -> None:
        said.append(handler.headers.get("Authorization", ""))
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="mine"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    with camera(other) as target:
        elsewhere = target.replace("127.0.0.1", "localhost")

        def away(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", f"{elsewhere}/x")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with camera(away) as url, pytest.raises(SourceError, match="asks for a login"):
            open_source(url.replace("://", "://admin:secret@"), LiveSettings(open_timeout=2))
    assert said == [""]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("certificates")
    return {
        "nameless": certificate(folder, "nameless"),
        "named": certificate(folder, "named", "-addext", "subjectAltName=IP:127.0.0.1"),
        "elsewhere": certificate(folder, "elsewhere", "-addext", "subjectAltName=DNS:camera.plant"),
    }


def fingerprint(pem: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.read_text())).hexdigest()


@pytest.mark.parametrize("name", ["nameless", "named", "elsewhere"])
def test_a_camera_with_its_own_certificate_is_trusted_by_file_or_fingerprint(
    name: str, certificates: dict[str, tuple[Path, Path]]
) -> None:
    pem = certificates[name][0]
    digest = fingerprint(pem)
    colons = ":".join(digest[at : at + 2] for at in range(0, 64, 2)).upper()
    with camera(lambda handler: send(handler, JPEG), certificates[name]) as url:
        for trust in ({"ca_file": pem}, {"fingerprint": digest}, {"fingerprint": colons}):
            assert whole(take(url, 2, **trust)) == [True, True]


def test_a_certificate_that_nothing_vouches_for_is_refused_with_its_fingerprint_and_nothing_is_sent(
    certificates: dict[str, tuple[Path, Path]],
) -> None:
    asked: list[str] = []
    with camera(lambda handler: asked.append(handler.path), certificates["named"]) as url:
        for wrong in ({}, {"ca_file": certificates["nameless"][0]}):
            with pytest.raises(SourceError, match="nothing vouches for") as error:
                open_source(url, LiveSettings.model_validate(QUICK | wrong))
            assert fingerprint(certificates["named"][0]) in str(error.value)
        with pytest.raises(SourceError, match="another certificate"):
            open_source(url, LiveSettings.model_validate(QUICK | {"fingerprint": "0" * 64}))
    assert asked == []


def test_a_certificate_signed_by_a_named_authority_must_be_made_out_to_the_camera(tmp_path: Path) -> None:
    authority = certificate(tmp_path, "authority", "-addext", "basicConstraints=critical,CA:TRUE")
    signed = ("-CA", str(authority[0]), "-CAkey", str(authority[1]))
    try:
        fits = certificate(tmp_path, "fits", *signed, "-addext", "subjectAltName=IP:127.0.0.1")
        other = certificate(tmp_path, "other", *signed, "-addext", "subjectAltName=IP:10.0.0.7")
    except Exception:  # noqa: BLE001 - OpenSSL before 3 signs otherwise
        pytest.skip("needs OpenSSL 3")
    with camera(lambda handler: send(handler, JPEG), fits) as url:
        assert whole(take(url, 2, ca_file=authority[0])) == [True, True]
    with camera(lambda handler: send(handler, JPEG), other) as url, pytest.raises(SourceError, match="not valid for"):
        open_source(url, LiveSettings.model_validate(QUICK | {"ca_file": authority[0]}))


def test_what_opencv_would_fetch_without_looking_at_the_certificate_is_refused(
    certificates: dict[str, tuple[Path, Path]],
) -> None:
    settings = LiveSettings.model_validate(QUICK | {"ca_file": certificates["named"][0]})
    with (
        camera(lambda handler: send(handler, b"x" * 99, "video/mp4"), certificates["named"]) as url,
        pytest.raises(SourceError, match="without looking at the certificate"),
    ):
        open_source(url, settings)


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:pa#ss@10.0.0.7/live",
        "rtsp://admin:pa?ss@10.0.0.7/live",
        "rtsp://admin:pa/ss@10.0.0.7/live",
        "rtsp://admin:12#34@10.0.0.7/live",
        "http://10.0.0.7/s.cgi?user=admin&pwd=pa#ss&ch=1",
        "http://10.0.0.7/s?loginuse=admin&loginpas=pa/ss&x=1",
        "rtsp://10.0.0.7:554/user=admin&password=pa?ss&channel=1",
        "rtsp://10.0.0.7:554/user=admin_password=pa_channel=1.sdp",
        "http://10.0.0.7/x?auth_token=pa#ss",
    ],
)
def test_no_part_of_a_login_is_shown_wherever_it_stands(url: str) -> None:
    for text in (shown_url(url), Address.parse(url).shown):
        assert not any(secret in text for secret in ("admin", "pa", "ss", "12", "34"))


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_neither_log_nor_error_nor_frame_nor_opencv_says_a_password(
    scheme: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"{scheme}://admin:topsecret@127.0.0.1:1/x?pwd=hidden"
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError) as error:
        open_source(url, LiveSettings(open_timeout=2))
    source = open_source(url, LiveSettings(open_timeout=2, wait=True))
    assert isinstance(source, LiveSource)
    frame = source.poll(timeout=10)
    source.close()
    out, err = capfd.readouterr()
    assert frame is not None
    assert "cannot be opened" in frame.error
    text = f"{error.value}{frame}{caplog.text}{out}{err}{source.name}"
    assert "topsecret" not in text
    assert "hidden" not in text


def test_a_password_that_is_not_there_is_said_before_the_camera_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CAMERA_PASSWORD", raising=False)
    settings = LiveSettings(username="admin", password_env="CAMERA_PASSWORD")
    for url in ("rtsp://127.0.0.1:1/x", "http://127.0.0.1:1/x"):
        with pytest.raises((ConfigError, SourceError), match="CAMERA_PASSWORD is not set"):
            open_source(url, settings)
