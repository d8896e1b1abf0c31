"""The host's Python API as its reference page and anomalib's users spell it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import patchcore_edge
from patchcore_edge import Engine, Folder, MVTec, MVTecAD, Patchcore
from patchcore_edge.data import Batch
from patchcore_edge.models.weights import DEFAULT_BACKBONE, weights_file
from patchcore_edge_runtime.errors import ConfigError, DataError


def test_importing_the_package_loads_no_torch_until_a_name_is_asked_for() -> None:
    code = (
        "import sys, patchcore_edge; before = 'torch' in sys.modules; from patchcore_edge import Folder; "
        "print(before, 'torch' in sys.modules, Folder.__module__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "patchcore_edge.data.folder"]


def test_every_public_name_is_there_and_no_other() -> None:
    for name in patchcore_edge.__all__:
        assert getattr(patchcore_edge, name) is not None
    assert set(patchcore_edge.__all__) <= set(dir(patchcore_edge))
    with pytest.raises(AttributeError, match="no attribute 'Padim'"):
        patchcore_edge.Padim  # noqa: B018


# anomalib's spellings.


@pytest.fixture
def bottle(tiny_data: Path, tmp_path: Path) -> Path:
    (tmp_path / "bottle").symlink_to(tiny_data)
    return tmp_path


def test_mvtecad_takes_the_words_of_anomalibs_and_says_which_have_no_effect(
    bottle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = MVTecAD(root=bottle, category="bottle", train_batch_size=32, eval_batch_size=32, num_workers=8, seed=None)
    plain = MVTec(bottle, "bottle")
    assert (data.train, data.validation, data.test) == (plain.train, plain.validation, plain.test)
    said = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert [line.split()[1] for line in said] == ["train_batch_size", "eval_batch_size", "num_workers"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"val_split_mode": "same_as_test"}, "promise nothing; give val_split_mode='from_train'"),
        ({"train_augmentations": object()}, r"Patchcore\(augment="),
        ({"test_split_ratio": 0.2}, "normal_split_ratio"),
    ],
)
def test_words_that_would_change_what_comes_out_are_refused(words: dict[str, object], what: str, bottle: Path) -> None:
    with pytest.raises(ConfigError, match=what):
        MVTecAD(bottle, "bottle", **words)


def test_words_that_say_what_is_done_anyway_are_taken_in_silence(
    bottle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = {"val_split_mode": "from_train", "test_split_mode": "from_dir", "augmentations": None}
    MVTecAD(bottle, "bottle", **words)
    assert "has no effect" not in caplog.text


@pytest.mark.parametrize("kind", [MVTecAD, Folder, Engine])
def test_a_misspelt_word_is_an_error(kind: type, tiny_data: Path) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'num_worker'"):
        kind(**({} if kind is Engine else {"root": tiny_data}), num_worker=3)


def test_folder_takes_its_words_as_anomalib_spells_them(tiny_data: Path) -> None:
    data = Folder(
        name="discs",
        root=tiny_data,
        normal_dir="train/good",
        abnormal_dir="test/scratch",
        normal_test_dir="test/good",
        mask_dir="ground_truth/scratch",
        train_batch_size=32,
    )
    assert str(data) == "discs"
    assert (len(data.train), len(data.test)) == (12, 12)
    assert sum(item.mask is not None for item in data.test) == 6


def test_folder_does_without_a_root_and_with_several_folders(tiny_data: Path) -> None:
    good = [tiny_data / "train/good", tiny_data / "validation/good"]
    data = Folder(name="discs", normal_dir=good, abnormal_dir=[tiny_data / "test/scratch"])
    assert (len(data.train), len(data.test)) == (22, 6)
    with pytest.raises(ConfigError, match="neither root nor normal_dir"):
        Folder(name="discs")
    with pytest.raises(ConfigError, match="2 folders of masks for 1 of defective"):
        Folder(normal_dir=good, abnormal_dir=tiny_data / "test/scratch", mask_dir=["a", "b"])


def test_normal_split_ratio_holds_good_images_out_for_the_test(tiny_data: Path) -> None:
    data = Folder(root=tiny_data, normal_dir="train/good", abnormal_dir="test/scratch", normal_split_ratio=0.25)
    assert (len(data.train), [item.label for item in data.test].count("good")) == (9, 3)
    assert not {item.path for item in data.train} & {item.path for item in data.test}
    with pytest.raises(ConfigError, match="leave normal_split_ratio out"):
        Folder(root=tiny_data, normal_dir="train/good", normal_test_dir="test/good", normal_split_ratio=0.25)


def test_engine_takes_lightnings_words_for_the_device(caplog: pytest.LogCaptureFixture) -> None:
    assert Engine(accelerator="cpu", devices=1).device == torch.device("cpu")
    assert Engine(accelerator="CPU").device == Engine(device="cpu").device == Engine("cpu").device
    assert Engine(accelerator="auto", devices="auto").device == Engine().device
    assert Engine("cpu", enable_progress_bar=False).progress is False
    Engine("cpu", max_epochs=1, logger=False)
    assert "max_epochs has no effect: nothing is trained in epochs here" in caplog.text


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"device": "cpu", "accelerator": "cpu"}, "was given both"),
        ({"accelerator": "cpu", "devices": 2}, "torchrun"),
        ({"accelerator": "tpu"}, "torch has no device|cannot use the device"),
        ({"strategy": "ddp"}, "torchrun"),
        ({"limit_train_batches": 2}, "DataModule with the images that are meant"),
    ],
)
def test_what_the_engine_cannot_do_is_refused(words: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Engine(**words)


@pytest.mark.skipif(torch.cuda.is_available() or torch.xpu.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_and_no_cpu() -> None:
    with pytest.raises(ConfigError, match="cannot use the device 'cuda'"):
        Engine(accelerator="gpu", devices=1)


# Results.


@pytest.fixture(scope="module")
def predictions(tiny_data: Path, tiny_weights: Path) -> list[Batch]:
    from patchcore_edge.models.pre_processor import PreProcessor
    from patchcore_edge_runtime.images.preprocess import PreprocessSpec

    model = Patchcore("resnet18", pre_processor=PreProcessor(PreprocessSpec(height=64, width=64)), weights=tiny_weights)
    engine, data = Engine("cpu", batch_size=4, progress=False), MVTec(tiny_data, "")
    engine.fit(model=model, datamodule=data)
    return engine.predict(model=model, datamodule=data)


def test_a_prediction_draws_its_images_with_their_heatmaps(predictions: list[Batch]) -> None:
    batch = predictions[-1]
    picture = batch.plot()
    assert picture.dtype == np.uint8
    assert picture.shape == (4 * 64 + 3 * 4, 2 * 64 + 4, 3)
    assert (picture[:64, :64] == batch.image[0].numpy()).all()
    assert (picture[:64, 68:] != batch.image[0].numpy()).any()


def test_a_prediction_is_saved_whole_or_image_by_image(predictions: list[Batch], tmp_path: Path) -> None:
    batch = predictions[-1]
    assert (cv2.imread(str(batch.save(tmp_path / "new" / "all.png"))) == batch.plot()).all()
    for one in batch.one_by_one():
        one.save(tmp_path / one.image_path[0].name)
    assert len(list(tmp_path.glob("*.png"))) == 4
    assert (cv2.imread(str(tmp_path / batch.image_path[0].name)) == batch.plot()[:64]).all()


def test_what_was_not_scored_or_has_no_ending_is_not_drawn(predictions: list[Batch], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Only a scored batch"):
        Batch(predictions[0].image).plot()
    with pytest.raises(ConfigError, match="cannot write"):
        predictions[0].save(tmp_path / "picture.xyz")


def test_missing_weights_of_the_apis_default_name_the_commands_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PATCHCORE_EDGE_WEIGHTS", raising=False)
    with pytest.raises(
        DataError, match=f"in place of the API's default: {DEFAULT_BACKBONE} with the layers blocks.2 and"
    ):
        weights_file("wide_resnet50_2", None)


def test_the_example_of_the_docs_runs(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_weights: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "differences.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    assert "one.save(" in code
    (tmp_path / "parts").symlink_to(tiny_data / "train/good")
    (tmp_path / "new_parts").symlink_to(tiny_data / "test/scratch")
    # The tests have no weights of that backbone; what else the page says stays.
    code = code.replace('"tf_efficientnet_lite0", ["blocks.2", "blocks.4"]', '"resnet18", ["layer2", "layer3"]')
    (tmp_path / "resnet18.safetensors").write_bytes(tiny_weights.read_bytes())
    monkeypatch.setenv("PATCHCORE_EDGE_WEIGHTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "differences.md", "exec"), {})
    assert len(list((tmp_path / "drawn").glob("*.png"))) == 6
