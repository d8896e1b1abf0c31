"""A line that asks a model server: what it judges, and that whatever goes wrong is ERROR until it is right again."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import bad_part, good_part, run_cli
from kserve_server import Fault, Graph, KServeServer, serving
from line_records import wait_for

from patchcore_edge_runtime import (
    Bundle,
    BundleError,
    ConfigError,
    DeviceError,
    Inspector,
    LineRules,
    ParityError,
    Verdict,
)
from patchcore_edge_runtime.inspection import server_backend
from patchcore_edge_runtime.serving.model_repository import write_repository
from patchcore_edge_runtime.serving.settings import ServerSettings

WAYS = pytest.mark.parametrize("way", ["grpc", "http"])
NAN = np.float32("nan")
RUNTIME = "patchcore_edge_runtime"


@pytest.fixture(scope="module")
def repository(tiny_bundle: Path, int8_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``discs`` and, of another model with the same interface, ``other``."""
    folder = tmp_path_factory.mktemp("served") / "repository"
    write_repository([f"discs={tiny_bundle}", f"other={int8_bundle}"], folder)
    return folder


@pytest.fixture(scope="module")
def graphs(repository: Path) -> dict[str, Graph]:
    return {name: Graph(repository / name) for name in ("discs", "discs-bundle", "other", "other-bundle")}


@pytest.fixture
def server(graphs: dict[str, Graph]) -> Iterator[KServeServer]:
    with serving(graphs) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses of a line that looks for its server, in milliseconds and not in seconds."""
    monkeypatch.setattr(server_backend, "_FIRST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(server_backend, "_LONGEST_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(server_backend, "_PING_SECONDS", 0.1)


def asked(server: KServeServer, way: str, model: str = "discs", **settings: float) -> ServerSettings:
    return ServerSettings(uri=server.url(way, model), **settings)


@WAYS
def test_a_served_bundle_judges_as_it_does_on_the_line_pc(
    server: KServeServer, way: str, tiny_inspector: Inspector, tiny_bundle: Path
) -> None:
    for remote in (Inspector(server.url(way, "discs")), Inspector(tiny_bundle, server=server.url(way, "discs"))):
        assert remote.manifest == tiny_inspector.manifest
        assert remote.golden_deviation == pytest.approx(tiny_inspector.golden_deviation)
        assert "discs" in remote.execution_devices[0]
        for frame in (good_part(), bad_part()):
            here, there = tiny_inspector(frame), remote(frame)
            assert there.verdict is here.verdict
            assert there.pred_score == pytest.approx(here.pred_score, rel=1e-5)
            assert np.allclose(there.anomaly_map, here.anomaly_map, atol=1e-5)
            assert there.model_id == here.model_id
    # What travels is the model's size, whatever the camera's is.
    assert {shape for name, shape in server.asked if name == "discs"} == {(1, 64, 64, 3)}


@WAYS
def test_thresholds_regions_and_masks_stay_with_the_line(server: KServeServer, way: str) -> None:
    strict = Inspector(server.url(way, "discs"))
    limits = strict.thresholds.model_copy(update={"image": strict(bad_part()).pred_score * 2})
    assert strict(bad_part()).verdict is Verdict.NG
    lenient = Inspector(server.url(way, "discs"), rules=LineRules(thresholds=limits, roi=(0, 0, 80, 80)))
    result = lenient(bad_part())
    assert result.verdict is Verdict.OK
    assert result.roi == (0, 0, 80, 80)


@WAYS
def test_golden_images_are_scored_over_the_wire_before_any_frame(server: KServeServer, way: str) -> None:
    inspector = Inspector(server.url(way, "discs"))
    scored = [name for name, _ in server.asked].count("discs")
    assert scored == len(inspector.manifest.golden)


@WAYS
def test_a_wrong_model_under_the_right_name_does_not_start(
    server: KServeServer, way: str, tiny_bundle: Path, graphs: dict[str, Graph]
) -> None:
    server.models["discs"] = graphs["other"]
    with pytest.raises(ParityError, match="scores"):
        Inspector(tiny_bundle, server=server.url(way, "discs"))


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Fault:
    return Fault(outputs=lambda outputs: {**outputs, name: np.array(change(outputs[name]), order="C")})


FAULTS = {
    "no number as the score": changed("pred_score", lambda a: a * NAN),
    "infinity as the score": changed("pred_score", lambda a: a + np.float32("inf")),
    "a value of the map that is no number": changed("anomaly_map", lambda a: np.where(a < a.max(), a, a * NAN)),
    "a score too many": changed("pred_score", lambda a: np.concatenate([a, a])),
    "a score without its dimension": changed("pred_score", lambda a: a.reshape(())),
    "a smaller map": changed("anomaly_map", lambda a: a[..., ::2]),
    "a map of other numbers": changed("anomaly_map", lambda a: a.astype(np.uint8)),
    "no map": Fault(outputs=lambda outputs: {"pred_score": outputs["pred_score"]}),
    "no output": Fault(outputs=lambda _: {}),
    "megabytes more than a map": Fault(outputs=lambda outputs: {**outputs, "more": np.zeros((2048, 2048), np.float32)}),
    "another version": Fault(version="7"),
    "another model": Fault(name="other"),
    "the answer to another request": Fault(number="none of ours"),
    "an error": Fault(refuse=True),
    "no answer": Fault(delay=60.0),
}  # fmt: skip


@WAYS
@pytest.mark.parametrize("what", list(FAULTS))
def test_what_is_no_answer_of_the_model_is_an_error_and_the_line_is_back_by_itself(
    server: KServeServer, way: str, what: str, tiny_bundle: Path
) -> None:
    # Long where only a fault may fail it, on a machine that has other work too.
    inspector = Inspector(tiny_bundle, server=asked(server, way, timeout=1.0 if what == "no answer" else 30.0))
    server.fault = FAULTS[what]
    wrong = inspector(good_part())
    assert wrong.verdict is Verdict.ERROR
    assert server.url(way, "discs").partition("//")[2].partition("/")[0] in wrong.reason
    assert inspector(good_part()).verdict is Verdict.ERROR
    server.fault = Fault()
    server.ended.set()  # who waited is let go
    server.ended.clear()
    wait_for(lambda: inspector(good_part()).verdict is Verdict.OK, 30)
    wait_for(lambda: inspector(bad_part()).verdict is Verdict.NG, 30)


@WAYS
def test_a_server_that_restarts_is_an_error_and_then_tested_again_before_it_judges(
    server: KServeServer, way: str
) -> None:
    inspector = Inspector(server.url(way, "discs"))
    server.stop()
    assert inspector(good_part()).verdict is Verdict.ERROR
    server.asked.clear()
    server.start()
    wait_for(lambda: inspector(good_part()).verdict is Verdict.OK, 30)
    golden = len(inspector.manifest.golden)
    assert [shape for name, shape in server.asked if name == "discs"][:golden] == [(1, 64, 64, 3)] * golden


@WAYS
def test_a_server_that_comes_back_with_the_wrong_model_stays_an_error_until_it_has_the_right_one(
    server: KServeServer, way: str, graphs: dict[str, Graph], caplog: pytest.LogCaptureFixture
) -> None:
    inspector = Inspector(server.url(way, "discs"))
    server.stop()
    server.models["discs"] = graphs["other"]
    server.start()
    wait_for(lambda: "scores" in inspector(good_part()).reason, 30)
    assert all(inspector(part(1)).verdict is Verdict.ERROR for part in (good_part, bad_part))
    server.models["discs"] = graphs["discs"]
    wait_for(lambda: inspector(good_part()).verdict is Verdict.OK, 30)
    said = [record.message for record in caplog.records if record.name.endswith("server_backend")]
    assert any("is not used" in one for one in said)
    assert "is back" in said[-1]


@WAYS
def test_a_connection_without_frames_is_kept_open_and_its_loss_is_noticed(
    server: KServeServer, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    inspector = Inspector(server.url(way, "discs"))
    server.fault = Fault(unready=True)
    wait_for(lambda: any("is not used" in record.message for record in caplog.records), 30)
    assert inspector(good_part()).verdict is Verdict.ERROR
    server.fault = Fault()
    wait_for(lambda: inspector(good_part()).verdict is Verdict.OK, 30)


@WAYS
def test_a_model_that_is_changed_under_an_open_connection_is_found_by_the_next_recheck(
    server: KServeServer, way: str, graphs: dict[str, Graph], tiny_bundle: Path
) -> None:
    inspector = Inspector(tiny_bundle, server=asked(server, way, recheck=0.001))
    server.models["discs"] = graphs["other"]
    assert inspector(good_part()).verdict is Verdict.ERROR
    server.models["discs"] = graphs["discs"]
    wait_for(lambda: inspector(good_part()).verdict is Verdict.OK, 30)


@WAYS
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda inputs, _: inputs[0].update(name="image"), "inputs image"),
        (lambda inputs, _: inputs[0].update(datatype="FP32"), "FP32"),
        (lambda inputs, _: inputs[0].update(shape=[1, 32, 64, 3]), "32, 64"),
        (lambda inputs, _: inputs[0].update(shape=[1, 64, 64]), "64, 64"),
        (lambda inputs, _: inputs.append({"name": "more", "datatype": "UINT8", "shape": [1]}), "more"),
        (lambda _, outputs: outputs.pop(), "no output"),
    ],
)
def test_a_model_of_another_interface_is_refused_with_what_it_is(
    server: KServeServer, way: str, tiny_bundle: Path, wrong: Callable[..., object], said: str
) -> None:
    def change(document: dict) -> dict:
        wrong(document["inputs"], document["outputs"])
        return document

    server.fault = Fault(metadata=change)
    with pytest.raises(DeviceError, match=said):
        Inspector(tiny_bundle, server=server.url(way, "discs"))


@WAYS
def test_what_a_server_does_not_have_is_said_in_one_sentence(server: KServeServer, way: str, tiny_bundle: Path) -> None:
    with pytest.raises(DeviceError, match="does not give the manifest of nothing"):
        Inspector(server.url(way, "nothing"))
    with pytest.raises(DeviceError, match="no model nothing"):
        Inspector(tiny_bundle, server=server.url(way, "nothing"))
    with pytest.raises(DeviceError, match="no version 9"):
        Inspector(tiny_bundle, server=server.url(way, "discs") + "/versions/9")
    server.stop()
    try:
        with pytest.raises(DeviceError, match="cannot be reached"):
            Inspector(tiny_bundle, server=server.url(way, "discs"))
    finally:
        server.start()


def test_a_server_that_answers_in_json_is_told_apart_and_one_that_answers_in_numbers_is_read(
    server: KServeServer, tiny_bundle: Path
) -> None:
    server.fault = Fault(typed=True)
    with pytest.raises(DeviceError, match="binary"):
        Inspector(tiny_bundle, server=server.url("http", "discs"))
    assert Inspector(server.url("grpc", "discs"))(bad_part()).verdict is Verdict.NG


@WAYS
def test_a_version_that_is_asked_for_is_the_one_that_answers(server: KServeServer, way: str) -> None:
    assert Inspector(server.url(way, "discs") + "/versions/1")(bad_part()).verdict is Verdict.NG


@WAYS
def test_a_token_goes_with_every_request(
    server: KServeServer, way: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ServerSettings(uri=server.url(way, "discs"), token_env="SERVER_TOKEN")
    with pytest.raises(ConfigError, match="SERVER_TOKEN"):
        Inspector(tiny_bundle, server=settings)
    monkeypatch.setenv("SERVER_TOKEN", "hush")
    Inspector(tiny_bundle, server=settings)(good_part())
    assert set(server.tokens) == {"Bearer hush"}


@WAYS
def test_a_manifest_that_was_changed_on_its_server_is_refused(server: KServeServer, way: str) -> None:
    class Tampered:
        version = "1"

        def __init__(self, inner: Graph, old: bytes, new: bytes) -> None:
            self.inner, self.old, self.new = inner, old, new

        def infer(self, data: np.ndarray) -> dict[str, np.ndarray]:
            archive = self.inner.infer(data)["archive"].tobytes()
            assert self.old in archive
            return {"archive": np.frombuffer(archive.replace(self.old, self.new, 1), np.uint8)}

    honest = server.models["discs-bundle"]
    for old, new in ((b'"good"', b'"bad!"'), (b"IHDR", b"IHDX"), (b"PK", b"pk"), (b"manifest.json", b"manifest.jsom")):
        server.models["discs-bundle"] = Tampered(honest, old, new)
        with pytest.raises(BundleError):
            Inspector(server.url(way, "discs"))


def test_a_backend_that_nobody_uses_ends_its_connection(server: KServeServer, tiny_bundle: Path) -> None:
    inspector = Inspector(tiny_bundle, server=server.url("http", "discs"))
    (connection,) = server._http.connections
    del inspector
    gc.collect()
    wait_for(lambda: connection.fileno() == -1, 30)


def test_a_batch_of_several_images_is_filled_or_sent_as_one_as_the_server_has_it(
    tiny_run: Path, tmp_path: Path, tiny_inspector: Inspector
) -> None:
    from patchcore_edge_export.build import GraphOptions
    from patchcore_edge_export.bundle import export_bundle

    export_bundle(tiny_run, tmp_path / "two", GraphOptions(batch=2))
    write_repository([f"two={tmp_path / 'two'}"], tmp_path / "repository")
    with serving({name: Graph(tmp_path / "repository" / name) for name in ("two", "two-bundle")}) as server:
        for way in ("grpc", "http"):
            result = Inspector(server.url(way, "two"))(bad_part())
            assert result.pred_score == pytest.approx(tiny_inspector(bad_part()).pred_score, rel=1e-5)
    assert {shape for name, shape in server.asked if name == "two"} == {(2, 64, 64, 3)}


@pytest.mark.parametrize(
    "url",
    [
        "grpc://host",
        "grpc://host/",
        "grpc:///model",
        "grpc://host:99999/model",
        "grpc://host/a/b",
        "grpc://me:hush@host/model",
        "grpc://host/model?token=hush",
        "http://host/v2/models/model",
        "grpc://host/" + "x" * 500,
    ],
)
def test_a_url_that_names_no_model_is_refused_without_showing_a_secret(url: str, tiny_bundle: Path) -> None:
    for arguments in ({"bundle": url}, {"bundle": tiny_bundle, "server": url}):
        with pytest.raises(ConfigError) as error:
            Inspector(**arguments)
        assert "hush" not in str(error.value)


def test_arguments_that_do_not_go_together_fail_at_once(tiny_bundle: Path) -> None:
    with pytest.raises(ConfigError, match="one of the two"):
        Inspector("grpc://host/a", server="grpc://host/b")
    with pytest.raises(ConfigError, match="server is"):
        Inspector(tiny_bundle, server=17)
    with pytest.raises(ConfigError, match="own device"):
        Inspector(tiny_bundle, "GPU", server="grpc://host/a")
    with pytest.raises(ConfigError, match="no model"):
        Inspector(tiny_bundle, server="ftp://host/a")


@WAYS
def test_the_commands_take_a_server_for_a_bundle_and_beside_one(
    server: KServeServer, way: str, tiny_bundle: Path, tiny_data: Path, tmp_path: Path
) -> None:
    url, pictures = server.url(way, "discs"), tiny_data / "test/good"
    for words in (["-m", url], ["-m", tiny_bundle, "--server", url]):
        done = run_cli("run", *words, "-s", pictures, program=RUNTIME)
        assert done.returncode == 0, done.stderr
        assert "OK 6" in done.stdout
    done = run_cli("info", url, program=RUNTIME)
    assert json.loads(done.stdout) == json.loads(run_cli("info", tiny_bundle, program=RUNTIME).stdout)
    done = run_cli("predict", "-m", url, "-s", pictures, "-o", tmp_path / "out", program=RUNTIME)
    assert done.returncode == 0, done.stderr
    line = tmp_path / "line.toml"
    for text in (
        f'bundle = "{url}"\n[source]\nuri = "{pictures}"\n',
        f'[server]\nuri = "{url}"\ntimeout = 1.5\n[source]\nuri = "{pictures}"\n',
        f'bundle = "{tiny_bundle}"\n[source]\nuri = "{pictures}"\n[server]\nuri = "{url}"\n',
    ):
        line.write_text(text)
        assert run_cli("run", "-c", line, program=RUNTIME).returncode == 0
        done = run_cli("check", "-c", line, program=RUNTIME)
        assert done.returncode == 0, done.stderr
        assert "discs at" in done.stdout
    assert run_cli("run", "-m", server.url(way, "nothing"), "-s", pictures, program=RUNTIME).returncode == 3


def test_settings_of_a_line_that_do_not_go_together_are_said(tiny_bundle: Path, tmp_path: Path) -> None:
    line = tmp_path / "line.toml"
    source = '[source]\nuri = "0"\n'
    for text, said in (
        ('bundle = "grpc://a/b"\n' + source + '[server]\nuri = "grpc://c/d"\n', "two servers"),
        ('bundle = "grpc://a/b"\nhot_swap = true\n' + source, "hot_swap"),
        (f'bundle = "{tiny_bundle}"\n' + source + '[server]\nuri = "grpc://a/b"\nca_file = "ca.pem"\n', "ca_file"),
        (f'bundle = "{tiny_bundle}"\n' + source + '[server]\nuri = "grpc://a"\n', "no model"),
        (f'bundle = "{tiny_bundle}"\n' + source + '[server]\nuri = "grpc://a/b"\ntimeout = 0\n', "timeout"),
    ):
        line.write_text(text)
        done = run_cli("check", "-c", line, program=RUNTIME)
        assert done.returncode == 2
        assert said in done.stderr


def test_a_bundle_from_a_server_says_where_it_is_from(server: KServeServer, tiny_bundle: Path) -> None:
    served = Inspector(server.url("grpc", "discs")).bundle
    assert served.digest == Bundle.load(tiny_bundle).digest
    assert "discs at grpc" in str(served.path)
