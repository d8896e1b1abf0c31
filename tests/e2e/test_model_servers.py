"""Lines that ask the model servers of the package index, each of which runs in a venv of its own.

`make test-serving`. The venvs are kept in .venv-serving, or where PATCHCORE_SERVING_VENVS says.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, bad_part, good_part
from line_records import free_port, wait_for

from patchcore_edge_runtime import Bundle, DeviceError, Inspector, Verdict
from patchcore_edge_runtime.serving.model_repository import write_repository

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SERVERS = ("kserve", "mlserver")
WAYS = (("kserve", "grpc"), ("kserve", "http"), ("mlserver", "grpc"))
VENVS = Path(os.environ.get("PATCHCORE_SERVING_VENVS", REPOSITORY / ".venv-serving"))


def python_of(name: str) -> Path:
    """The Python of a venv that has what ``samples/serving/requirements`` names; installed once."""
    folder, requirements = VENVS / name, REPOSITORY / f"samples/serving/requirements/{name}.txt"
    python, stamp = folder / "bin/python", folder / ".installed"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        venv.create(folder, with_pip=True)
        words = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{name} cannot be installed: {(done.stderr.splitlines() or ['pip does not say why'])[-1]}")
        stamp.write_text(requirements.read_text())
    return python


@dataclass
class Running:
    name: str
    http_port: int
    grpc_port: int
    start: Callable[[], subprocess.Popen[str]]
    process: subprocess.Popen[str]

    def url(self, way: str, model: str) -> str:
        return f"{way}://127.0.0.1:{self.grpc_port if way == 'grpc' else self.http_port}/{model}"

    def ready(self, model: str) -> bool:
        with suppress(OSError):
            url = f"http://127.0.0.1:{self.http_port}/v2/models/{model}/ready"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status == 200
        return False

    def wait(self) -> None:
        wait_for(lambda: self.ready("four-bundle") or self.process.poll() is not None, 300)
        assert self.process.poll() is None, "the server ended"


@pytest.fixture(scope="module")
def repository(tiny_bundle: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from patchcore_edge_export.build import GraphOptions
    from patchcore_edge_export.bundle import export_bundle

    folder = tmp_path_factory.mktemp("served")
    export_bundle(tiny_run, folder / "four", GraphOptions(batch=4, lower=False))
    write_repository([f"one={tiny_bundle}", f"four={folder / 'four'}"], folder / "repository")
    return folder / "repository"


@contextmanager
def running(name: str, repository: Path, log: Path) -> Iterator[Running]:
    python, ports = python_of(name), (free_port(), free_port())
    words = [python, "-m", f"samples.serving.{name}_server", repository]
    words += ["--http-port", str(ports[0]), "--grpc-port", str(ports[1])]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[str]:
        with log.open("a") as file:
            return subprocess.Popen(words, cwd=log.parent, env=environment, stdout=file, stderr=file, text=True)

    server = Running(name, *ports, start, start())
    try:
        server.wait()
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module", params=SERVERS)
def server(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    with running(request.param, repository, tmp_path_factory.mktemp(request.param) / "log.txt") as server:
        yield server


def ways(server: Running) -> list[str]:
    return [way for name, way in WAYS if name == server.name]


def test_a_real_server_gives_the_verdicts_of_the_line_pc(server: Running, tiny_inspector: Inspector) -> None:
    for way in ways(server):
        for model in ("one", "four"):
            remote = Inspector(server.url(way, model))
            for frame in (good_part(), bad_part(), good_part(1)):
                here, there = tiny_inspector(frame), remote(frame)
                assert there.verdict is here.verdict, there.reason
                assert there.pred_score == pytest.approx(here.pred_score, rel=1e-4)
                assert np.allclose(there.anomaly_map, here.anomaly_map, rtol=1e-3, atol=1e-4)


def test_cameras_that_ask_at_the_same_time_get_their_own_answers(server: Running, tiny_inspector: Inspector) -> None:
    frames = [bad_part(n) if n % 3 == 0 else good_part(n) for n in range(24)]
    alone = [tiny_inspector(frame).pred_score for frame in frames]
    for way in ways(server):
        lines = [Inspector(server.url(way, "four")) for _ in range(6)]

        def scores(number: int, lines: list[Inspector] = lines) -> list[float]:
            turned = frames[number:] + frames[:number]
            return [lines[number](frame).pred_score for frame in turned]

        with ThreadPoolExecutor(len(lines)) as pool:
            for number, found in enumerate(pool.map(scores, range(len(lines)))):
                assert found == pytest.approx(alone[number:] + alone[:number], rel=1e-4)


def test_a_server_without_binary_tensors_is_refused_by_http_with_what_to_do(server: Running, tiny_bundle: Path) -> None:
    if "http" in ways(server):
        return
    with pytest.raises(DeviceError, match="gRPC"):
        Inspector(server.url("http", "one"))
    with pytest.raises(DeviceError):
        Inspector(tiny_bundle, server=server.url("http", "one"))


def test_an_outside_client_gets_the_golden_scores(server: Running, tiny_bundle: Path, tmp_path: Path) -> None:
    python, bundle = python_of("tritonclient"), Bundle.load(tiny_bundle)
    for number, golden in enumerate(bundle.manifest.golden):
        image = tmp_path / f"{number}.npy"
        np.save(image, bundle.golden_image(golden))
        for way in {"kserve": ("grpc", "http", "json"), "mlserver": ("grpc", "json")}[server.name]:
            address = f"127.0.0.1:{server.grpc_port if way == 'grpc' else server.http_port}"
            words = [python, "-m", "samples.serving.outside_client", way, address, "one", image]
            done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            score, *shape = done.stdout.split()
            assert float(score) == pytest.approx(golden.pred_score, rel=golden.tolerance)
            assert shape == ["1", "1", "64", "64"]


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_that_is_killed_and_comes_back_is_an_error_in_between_and_gathers_what_cameras_ask(
    name: str, repository: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    with running(name, repository, log) as server:
        lines = [Inspector(server.url("grpc", "four")) for _ in range(8)]
        server.process.kill()
        server.process.wait()
        assert lines[0](good_part()).verdict is Verdict.ERROR
        server.process = server.start()
        server.wait()
        wait_for(lambda: all(line(good_part()).verdict is Verdict.OK for line in lines), 120)
        with ThreadPoolExecutor(len(lines)) as pool:
            list(pool.map(lambda line: [line(good_part()) for _ in range(20)], lines))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)
    sizes = json.loads([line for line in log.read_text().splitlines() if line.startswith('{"')][-1])["four"]
    assert sum(count for size, count in sizes.items() if int(size) > 1) > 0, sizes
    assert max(map(int, sizes)) <= 4


def test_the_samples_need_nothing_of_ours() -> None:
    for name in SERVERS:
        done = subprocess.run(
            [
                python_of(name),
                "-c",
                f"import samples.serving.{name}_server, sys; print([m for m in sys.modules if 'patchcore' in m])",
            ],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr
    assert sys.executable != str(python_of("kserve"))
