"""A fit in bounded memory: features on disk, resumed after a kill, planned and refused before the work begins."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from conftest import TINY_BACKBONE, TINY_SIZE, part, run_cli

from patchcore_edge.data import digests, open_data
from patchcore_edge.engine import Engine
from patchcore_edge.fit import embedder
from patchcore_edge.fit import memory_plan as memory
from patchcore_edge.fit.embedder import EMBEDDING_LIMIT, Embedder
from patchcore_edge.fit.feature_store import FeatureStore, StoreHeader
from patchcore_edge.fit.memory_plan import FitPlan, format_bytes, parse_bytes
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models import KCenterGreedy, Patchcore
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge_runtime.errors import CheckpointError, ConfigError, DataError

KILLED_AFTER_32_IMAGES = """
import os, signal, sys
from patchcore_edge.cli import main
from patchcore_edge.fit.feature_store import FeatureStore

append = FeatureStore.append

def append_or_die(store, images, rows):
    if len(store.images) == 32:
        store.pool()  # what came before is in the file
        os.kill(os.getpid(), signal.SIGKILL)
    append(store, images, rows)

FeatureStore.append = append_or_die
sys.argv[0] = "patchcore-edge"
main()
"""
LOCKED_BY_ANOTHER = """
import sys
from pathlib import Path
from patchcore_edge.fit.feature_store import FeatureStore, StoreHeader

store = FeatureStore(StoreHeader("same", patches=4, dimensions=3, dtype="float32"), 5, False, Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""
HEADER = StoreHeader("same", patches=4, dimensions=3, dtype="float32")


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


def rows(images: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(images * 4, 3, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good images enough for OpenVINO to be worth its while."""
    folder = tmp_path_factory.mktemp("many") / "good"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(60):
        cv2.imwrite(str(folder / f"{index:03d}.png"), part(rng))
    return folder


@pytest.fixture
def options(tiny_options: TrainOptions) -> TrainOptions:
    return replace(tiny_options, coreset_sampling_ratio=0.05)


def bank(run: Path) -> torch.Tensor:
    return load_run(run)[0].model.memory_bank


def train_words(data: Path, run: Path, options: TrainOptions) -> list[str]:
    words = ["train", data, "-o", run, "--backbone", TINY_BACKBONE, "--layers", "layer2,layer3"]
    words += ["--weights", options.weights, "--image-size", TINY_SIZE, "--coreset-sampling-ratio", 0.05]
    return [str(word) for word in words]


def test_a_killed_fit_goes_on_where_it_was(many: Path, options: TrainOptions, tmp_path: Path) -> None:
    train_run(many, tmp_path / "whole", options)
    words = train_words(many, tmp_path / "run", options)
    progress = tmp_path / ".run.features" / "progress.jsonl"
    killed = subprocess.run([sys.executable, "-c", KILLED_AFTER_32_IMAGES, *words], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "run").exists()
    # What the kill cut short does no harm.
    with (progress.parent / "features.bin").open("ab") as file:
        file.write(b"half a row")

    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    assert "Going on after 32 images" in done.stdout
    assert not progress.parent.exists()
    assert torch.allclose(bank(tmp_path / "run"), bank(tmp_path / "whole"), atol=1e-4)


def test_a_fit_stopped_while_it_chooses_the_coreset_extracts_nothing_again(
    many: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(KCenterGreedy, "select_coreset_idxs", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(many, tmp_path / "run", options)
    assert {path.name for path in tmp_path.iterdir()} == {".run.features"}
    monkeypatch.setattr(Embedder, "__call__", stop)
    said: list[str] = []
    train_run(many, tmp_path / "run", options, said.append)
    assert any("Going on after 60 images" in line for line in said)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}


def test_other_images_or_another_size_do_not_go_on_from_there(
    tiny_data: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))

    monkeypatch.setattr(KCenterGreedy, "select_coreset_idxs", stop)

    def goes_on(given: TrainOptions) -> bool:
        said: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            train_run(data, tmp_path / "run", given, said.append)
        return any("Going on after" in line for line in said)

    assert not goes_on(options)
    assert goes_on(replace(options, seed=5))
    assert not goes_on(replace(options, image_size=(32, 32)))
    assert not goes_on(options)
    (data / "000.png").write_bytes((data / "001.png").read_bytes())
    assert not goes_on(options)


def test_a_pool_beyond_the_limit_stays_on_disk_and_gives_the_same_bank(
    tiny_data: Path, options: TrainOptions, tmp_path: Path
) -> None:
    said: list[str] = []
    train_run(tiny_data, tmp_path / "memory", options, said.append)
    train_run(tiny_data, tmp_path / "disk", replace(options, memory_limit=1), said.append)
    assert any("kept in memory" in line for line in said)
    assert "on disk as float16" in next(line for line in said if "on disk" in line)
    wanted, found = bank(tmp_path / "memory"), bank(tmp_path / "disk")
    assert wanted.shape == found.shape
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-3)
    assert {path.name for path in tmp_path.iterdir()} == {"memory", "disk"}


def test_a_disk_too_small_is_refused_before_any_image_is_read(
    tiny_data: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage(tmp_path))(1000, 999, 1)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(Embedder, "__call__", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(ConfigError, match=r"need 1\.1 MB of disk"):
        train_run(tiny_data, tmp_path / "run", options)
    assert not list(tmp_path.iterdir())


def test_a_place_that_is_taken_is_refused_before_any_image_is_read(
    tiny_data: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    monkeypatch.setattr(Embedder, "__call__", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(CheckpointError, match="choose another place"):
        train_run(tiny_data, tmp_path, options)


def test_a_size_or_megabytes_in_place_of_the_ratio(tiny_data: Path, options: TrainOptions, tmp_path: Path) -> None:
    by_size = replace(options, coreset_sampling_ratio=None, coreset_size=11)
    facts = train_run(tiny_data, tmp_path / "run", by_size)
    assert facts.bank_size == len(bank(tmp_path / "run")) == 11
    assert facts.coreset_sampling_ratio == pytest.approx(11 / facts.patches)
    by_mb = replace(options, coreset_sampling_ratio=None, bank_mb=2.0)
    assert by_mb.bank_size(10**6, 512) == 1024
    assert by_mb.bank_size(100, 512) == 100


def test_ratio_size_and_megabytes_exclude_each_other(options: TrainOptions, tiny_data: Path, tmp_path: Path) -> None:
    done = run_cli(*train_words(tiny_data, tmp_path / "run", options), "--coreset-size", "5")
    assert done.returncode == 2
    assert done.stderr == "error: Give only one of --coreset-sampling-ratio, --coreset-size and --bank-mb.\n"
    with pytest.raises(ConfigError, match="positive"):
        replace(options, coreset_sampling_ratio=None, bank_mb=-1.0)


def test_a_store_keeps_its_rows_and_their_images(tmp_path: Path) -> None:
    stores = [FeatureStore(HEADER, 5, True), FeatureStore(HEADER, 5, False, tmp_path / "store")]
    for store in stores:
        store.append([0, 2], rows(2))
        store.append([3], rows(1, seed=1))
        assert store.images == [0, 2, 3]
        assert store.next_image == 4
        assert np.allclose(store.pool()[:], torch.cat([rows(2), rows(1, seed=1)]))


def test_a_store_goes_on_from_what_is_sure_to_be_there(tmp_path: Path) -> None:
    store = FeatureStore(HEADER, 5, False, tmp_path)
    store.append([0, 1], rows(2))
    store.append([2], rows(1, seed=1))
    store.close()
    progress = tmp_path / "progress.jsonl"
    progress.write_text(progress.read_text() + "[3")
    again = FeatureStore(replace(HEADER, dtype="float16"), 5, True, tmp_path)
    assert again.images == [0, 1, 2]
    again.append([3], rows(1, seed=2))
    assert np.allclose(again.pool()[:], torch.cat([rows(2), rows(1, seed=1), rows(1, seed=2)]))
    again.close()
    assert FeatureStore(HEADER, 5, False, tmp_path).images == [0, 1, 2, 3]


def test_a_store_with_other_features_or_too_few_rows_begins_anew(tmp_path: Path) -> None:
    for spoil in ("header", "rows", "nonsense", "a line"):
        folder = tmp_path / spoil
        store = FeatureStore(HEADER, 5, False, folder)
        store.append([0, 1], rows(2))
        store.close()
        if spoil == "rows":
            (folder / "features.bin").write_bytes(b"few")
        if spoil == "nonsense":
            (folder / "progress.jsonl").write_text("nonsense\n[0]\n")
        if spoil == "a line":
            progress = folder / "progress.jsonl"
            progress.write_text(progress.read_text().replace("[0, 1]", '[0, "one"]'))
        header = replace(HEADER, fingerprint="other") if spoil == "header" else HEADER
        assert FeatureStore(header, 5, False, folder).images == []


def test_two_processes_do_not_fill_one_store(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LOCKED_BY_ANOTHER, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match="already training"):
            FeatureStore(HEADER, 5, False, tmp_path)
        other.kill()
    # Whatever the other one died of, its lock went with it.
    FeatureStore(HEADER, 5, False, tmp_path).close()


@pytest.mark.parametrize("owner", ["1", "4711", "", "nonsense"])
def test_a_lock_file_that_a_container_left_behind_locks_nobody_out(owner: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(owner)
    FeatureStore(HEADER, 5, False, tmp_path).close()


def test_a_fit_whose_last_files_cannot_be_read_goes_on_from_what_is_stored(
    tiny_data: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))
    last = data / "zzz.png"
    last.write_bytes(b"no image")

    with monkeypatch.context() as patch:
        patch.setattr(KCenterGreedy, "select_coreset_idxs", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(data, tmp_path / "run", options)
    said: list[str] = []
    facts = train_run(data, tmp_path / "run", options, said.append)
    assert any("Going on after 12 images" in line for line in said)
    assert len(facts.train_sha256) == 12


def test_an_image_that_stops_a_strict_fit_does_not_cost_what_is_stored(
    tiny_data: Path, options: TrainOptions, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))
    for number in range(8):
        image = cv2.imread(str(data / "000.png"))
        image[0, 0] = number
        cv2.imwrite(str(data / f"more{number}.png"), image)
    # Its header is in order: only who decodes it finds out.
    (data / "zzz.png").write_bytes((data / "000.png").read_bytes()[:-200])
    with pytest.raises(DataError, match="zzz"):
        train_run(data, tmp_path / "run", replace(options, strict=True))
    assert (tmp_path / ".run.features" / "features.bin").stat().st_size > 0


def test_a_fit_reads_each_file_for_its_digest_once(
    tiny_data: Path, options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[Path] = Counter()
    file_bytes = digests.file_bytes

    def counted(path: Path) -> bytes:
        reads[path] += 1
        return file_bytes(path)

    monkeypatch.setattr(digests, "file_bytes", counted)  # pictures are decoded from reads of their own
    facts = train_run(tiny_data / "train" / "good", tmp_path / "run", replace(options, val_split_ratio=0.25))
    assert len(facts.train_sha256) + len(facts.held_out_sha256) == 12
    assert set(reads.values()) == {1}
    assert len(reads) == 12


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_features_that_half_precision_cannot_hold_are_refused(value: float, tmp_path: Path) -> None:
    store = FeatureStore(replace(HEADER, dtype="float16"), 1, False, tmp_path)
    with pytest.raises(ConfigError, match="not finite in float16"):
        store.append([0], torch.full((4, 3), value))


def test_openvino_embeds_as_torch_does(many: Path, tiny_weights: Path) -> None:
    model = Patchcore(
        TINY_BACKBONE,
        ("layer2", "layer3"),
        pre_processor=Patchcore.configure_pre_processor((48, TINY_SIZE)),
        weights=tiny_weights,
    )
    embed = Embedder(model, 60)
    frames = torch.randint(0, 256, (5, 48, TINY_SIZE, 3), dtype=torch.uint8)
    first = embed(frames)
    assert embed.backend == "openvino"
    second = embed(frames)
    assert second.shape == first.shape == (5 * 6 * 8, 384)
    assert embedder.deviation(second, first) < EMBEDDING_LIMIT
    assert model.model.memory_bank.shape == (0,)


def test_an_openvino_that_deviates_is_not_used(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = Patchcore(TINY_BACKBONE, ("layer2",), weights=tiny_weights)
    monkeypatch.setattr(embedder, "EMBEDDING_LIMIT", 0.0)
    embed = Embedder(model, 60)
    frames = torch.zeros(1, 256, 256, 3, dtype=torch.uint8)
    first = embed(frames)
    assert embed.backend == "torch"
    assert "deviate" in caplog.text
    assert torch.equal(embed(frames), first)


def test_an_openvino_that_fails_is_not_used(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(embedder, "converted", fail)
    embed = Embedder(Patchcore(TINY_BACKBONE, ("layer2",), weights=tiny_weights), 60)
    embed(torch.zeros(1, 256, 256, 3, dtype=torch.uint8))
    assert embed.backend == "torch"
    assert "no such operation" in caplog.text


def test_an_api_fit_beyond_the_limit_leaves_no_files(
    tiny_data: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = Patchcore(TINY_BACKBONE, ("layer2",), weights=tiny_weights, post_processor=False)
    Engine("cpu").fit(model, open_data(tiny_data))
    assert len(model.model.memory_bank) == model.pool_size // 10
    assert not list(tmp_path.iterdir())


def test_sizes_are_read_and_written_as_people_do() -> None:
    assert parse_bytes("4GB") == parse_bytes("4 gib") == parse_bytes("4096m") == 4 << 30
    assert parse_bytes("1.5K") == 1536
    assert format_bytes(4 << 30) == "4.0 GB"
    assert format_bytes(12) == "12 bytes"
    for nonsense in ("", "GB", "-1GB", "0", "4PB", "four"):
        with pytest.raises(ConfigError, match="500MB or 4GB"):
            parse_bytes(nonsense)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = psutil.Process().memory_info().rss
    (tmp_path / "memory.max").write_text(f"{resident + (64 << 20)}\n")
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", tmp_path / "memory.max")
    assert memory.free_memory() <= 128 << 20
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 128 << 20


def test_ten_thousand_images_are_planned_under_6_gb() -> None:
    plan = FitPlan(images=10_000, patches=1024, dimensions=384, bank_size=10_000)
    assert not plan.fits(4 << 30)
    text = plan.describe("float16", plan.store_bytes(2))
    assert "about 2.7 GB of memory and 7.3 GB of disk" in text
