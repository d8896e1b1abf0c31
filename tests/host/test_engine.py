"""Patchcore and its engine as a library."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import openvino as ov
import pytest
import torch
from conftest import TINY_BACKBONE
from safetensors.torch import load_file
from sklearn.metrics import average_precision_score, roc_auc_score

from patchcore_edge.data import Batch, DataModule, Folder, ImageDataset, ImageItem, MVTec
from patchcore_edge.engine import Engine
from patchcore_edge.fit.distributed.ranks import Ranks, sharing
from patchcore_edge.fit.embedder import Embedder
from patchcore_edge.metrics.evaluator import Evaluator
from patchcore_edge.metrics.scores import collect_scores
from patchcore_edge.models import InferenceBatch, LearningType, Patchcore, PatchcoreModel
from patchcore_edge.models.post_processor import PostProcessor
from patchcore_edge.models.pre_processor import IMAGENET_MEAN, IMAGENET_STD, PreProcessor
from patchcore_edge.models.visualizer import Visualizer
from patchcore_edge.runs.checkpoint import load_run
from patchcore_edge.runs.fitted import save_fitted
from patchcore_edge_runtime.bundle.bundle import Bundle
from patchcore_edge_runtime.errors import CheckpointError, ConfigError, DataError, FrameError
from patchcore_edge_runtime.images.preprocess import preprocess
from patchcore_edge_runtime.verdict import Thresholds

SIZE = (64, 64)


def build(weights: Path, **options: object) -> Patchcore:
    options = {"pre_processor": Patchcore.configure_pre_processor(SIZE), **options}
    return Patchcore(TINY_BACKBONE, ["layer2", "layer3"], coreset_sampling_ratio=0.25, weights=weights, **options)


@pytest.fixture
def engine() -> Engine:
    return Engine(device="cpu", batch_size=4, progress=False)


@pytest.fixture(scope="module")
def data(tiny_data: Path) -> MVTec:
    return MVTec(tiny_data, "")


@pytest.fixture(scope="module")
def fitted(tiny_weights: Path, data: MVTec) -> Patchcore:
    model = build(tiny_weights)
    Engine(device="cpu", progress=False).fit(model=model, datamodule=data)
    return model


def test_the_defaults_are_those_of_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Patchcore(pre_trained=False)
    assert model.model.backbone == "wide_resnet50_2"
    assert model.model.layers == ("layer2", "layer3")
    assert (model.coreset_sampling_ratio, model.model.num_neighbors) == (0.1, 9)
    assert model.pre_processor.spec.input_size == (256, 256)
    assert model.learning_type is LearningType.ONE_CLASS
    assert model.configure_optimizers() is None
    assert isinstance(Patchcore.configure_post_processor(), PostProcessor)


def test_each_component_is_default_absent_or_given(tiny_weights: Path) -> None:
    kinds = {"post_processor": PostProcessor, "evaluator": Evaluator, "visualizer": Visualizer}
    for name, kind in kinds.items():
        given = kind()
        assert isinstance(getattr(build(tiny_weights, **{name: True}), name), kind)
        assert getattr(build(tiny_weights, **{name: False}), name) is None
        assert getattr(build(tiny_weights, **{name: given}), name) is given


def test_a_given_pre_processor_keeps_its_kind_and_statistics_and_lacks_none(tiny_weights: Path) -> None:
    class Negative(PreProcessor):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(255 - images)

    spec = Patchcore.configure_pre_processor(SIZE).spec
    given = Negative(spec, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert build(tiny_weights, pre_processor=given).pre_processor is given
    assert pytest.approx((float(given.mean[0, 0]), float(given.std[0, 2]))) == (255 * 0.1, 255 * 0.6)

    blank = Negative(spec)
    lite = Patchcore("tf_efficientnet_lite0", ["blocks.2"], pre_trained=False, pre_processor=blank)
    resnet = build(tiny_weights, pre_processor=blank)
    assert isinstance(lite.pre_processor, Negative)
    assert lite.pre_processor.statistics == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert resnet.pre_processor.statistics == (IMAGENET_MEAN, IMAGENET_STD)
    assert blank.statistics == (None, None)


def test_a_saved_run_keeps_the_mean_and_deviation_it_was_fitted_with(
    tiny_weights: Path, data: MVTec, engine: Engine, tmp_path: Path
) -> None:
    spec = Patchcore.configure_pre_processor(SIZE).spec
    model = build(tiny_weights, pre_processor=PreProcessor(spec, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    engine.fit(model, data)
    save_fitted(tmp_path / "run", model, data)
    # Whoever may read one file of a run may read the others.
    assert len({path.stat().st_mode for path in (tmp_path / "run").iterdir() if path.is_file()}) == 1
    again, _ = load_run(tmp_path / "run")
    images = torch.zeros(1, *SIZE, 3, dtype=torch.uint8)
    assert torch.equal(again.pre_processor(images), model.pre_processor(images))
    assert torch.equal(again(images).pred_score, model(images).pred_score)


def test_a_fit_keeps_a_quarter_of_the_patches_and_lets_go_of_the_pool(fitted: Patchcore) -> None:
    assert fitted.pool_size == 12 * 64
    assert fitted.model.memory_bank.shape == (12 * 64 // 4, 384)
    assert fitted.embeddings == []


def test_thresholds_come_from_held_out_good_images(fitted: Patchcore, data: MVTec, engine: Engine) -> None:
    scores = torch.cat([b.pred_score for b in engine.predict(fitted, Folder(data.validation[0].path.parent).root)])
    assert fitted.post_processor.thresholds.image == pytest.approx(1.001 * float(scores.max()), rel=1e-6)
    for batch in engine.predict(fitted, data):
        assert torch.equal(batch.pred_label, batch.pred_score > fitted.post_processor.thresholds.image)
        assert torch.equal(batch.pred_mask, batch.anomaly_map[:, 0] > fitted.post_processor.thresholds.pixel)
        assert torch.equal(batch.pred_label, batch.gt_label)


def test_without_held_out_images_predictions_stay_raw(tiny_weights: Path, tiny_data: Path, engine: Engine) -> None:
    model = build(tiny_weights)
    engine.fit(model, Folder(tiny_data / "train" / "good"))
    (batch,) = engine.predict(model, tiny_data / "test" / "good" / "000.png")
    assert batch.pred_score.shape == (1,)
    assert batch.pred_label is batch.pred_mask is None


def test_predicting_a_datamodule_a_dataset_a_folder_and_a_file_agree(
    fitted: Patchcore, data: MVTec, tiny_data: Path, engine: Engine
) -> None:
    def scores(*args: object, **kwargs: object) -> torch.Tensor:
        return torch.cat([batch.pred_score for batch in engine.predict(fitted, *args, **kwargs)])

    dataset = ImageDataset(data.test, fitted.pre_processor.spec)
    expected = scores(datamodule=data)
    assert len(expected) == 12
    for again in (scores(data), scores(dataset), scores(dataset=dataset), scores(data_path=tiny_data / "test")):
        assert torch.equal(again, expected)
    torch.testing.assert_close(scores(data.test[3].path)[0], expected[3], rtol=1e-5, atol=0)


def test_images_of_a_folder_are_not_taken_for_good_or_defective(
    fitted: Patchcore, tiny_data: Path, engine: Engine
) -> None:
    (batch,) = engine.predict(fitted, tiny_data / "test" / "good" / "000.png")
    assert batch.gt_label is batch.gt_mask is None
    with pytest.raises(DataError, match="not labelled"):
        collect_scores([batch])


@pytest.mark.parametrize("sources", [{}, {"data_path": "a", "source": "b"}])
def test_predicting_nothing_or_two_things_is_refused(sources: dict, fitted: Patchcore, engine: Engine) -> None:
    with pytest.raises(ConfigError, match="one thing to predict on"):
        engine.predict(fitted, **sources)


def test_measuring_gives_every_metric_and_pictures(
    fitted: Patchcore, data: MVTec, engine: Engine, tmp_path: Path
) -> None:
    facts = engine.test(fitted, data, output=tmp_path).to_dict()
    assert facts["image_auroc"] == facts["f1"] == 1.0
    # By scikit-learn, over all pixels and images at once.
    scored = engine.predict(fitted, data)
    labels = torch.cat([batch.gt_label for batch in scored]).numpy()
    values = torch.cat([batch.pred_score for batch in scored]).numpy()
    pixels = torch.cat([batch.gt_mask for batch in scored]).numpy().ravel()
    maps = torch.cat([batch.anomaly_map for batch in scored]).numpy().ravel()
    flagged = values > fitted.post_processor.thresholds.image
    assert facts["image_aupr"] == pytest.approx(average_precision_score(labels, values))
    assert facts["pixel_auroc"] == pytest.approx(roc_auc_score(pixels, maps), abs=1e-4)
    assert facts["recall"] == pytest.approx(flagged[labels].mean())
    assert facts["false_reject_rate"] == pytest.approx(flagged[~labels].mean())
    # A random map has an overlap of half of the limit on average, 0.15.
    assert 0.15 < facts["aupro"] <= 1
    pictures = sorted(tmp_path.rglob("*.png"))
    assert len(pictures) == 12
    assert cv2.imread(str(pictures[0])).shape == (64, 132, 3)


def test_measuring_with_pictures_compiles_one_backbone(
    fitted: Patchcore, data: MVTec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    class Counted(Embedder):
        def __init__(self, model: Patchcore, images: int) -> None:
            made.append(images)
            super().__init__(model, images)

    monkeypatch.setattr("patchcore_edge.engine.Embedder", Counted)
    Engine(progress=False).test(fitted, data, output=tmp_path)
    assert made == [2 * 12]


def test_processes_that_share_a_machine_do_not_pin_their_threads_to_the_same_cores(
    fitted: Patchcore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, object]] = []

    class Core(ov.Core):
        def compile_model(self, graph: ov.Model, device: str, options: dict[str, object]) -> ov.CompiledModel:
            asked.append(options)
            return super().compile_model(graph, device, options)

    monkeypatch.setattr("patchcore_edge.fit.embedder.ov.Core", Core)
    frames = torch.randint(0, 256, (2, *SIZE, 3), dtype=torch.uint8)
    for local in (1, 2):
        with sharing(Ranks(local_size=local)):
            Embedder(fitted, 100)(frames)
    alone, shared = asked
    assert "INFERENCE_NUM_THREADS" not in alone
    assert shared["ENABLE_CPU_PINNING"] is False


def test_measuring_needs_an_evaluator_and_test_images(
    fitted: Patchcore, tiny_weights: Path, tiny_data: Path, data: MVTec, engine: Engine
) -> None:
    with pytest.raises(ConfigError, match="evaluator=True"):
        engine.test(build(tiny_weights, evaluator=False), data)
    with pytest.raises(DataError, match="no test images"):
        engine.test(fitted, Folder(tiny_data / "train" / "good"))


def test_an_export_from_the_library_is_a_bundle(fitted: Patchcore, data: MVTec, engine: Engine, tmp_path: Path) -> None:
    manifest = engine.export(fitted, data, tmp_path / "discs", target_fpr=0.1)
    assert Bundle.load(tmp_path / "discs").manifest == manifest
    assert manifest.parity.verdict_flips == 0


def test_an_empty_bank_says_so(tiny_weights: Path) -> None:
    model = build(tiny_weights)
    for fail in (
        lambda: model(torch.zeros(1, *SIZE, 3, dtype=torch.uint8)),
        lambda: model.model.nearest_neighbors(torch.zeros(1, 384), 1),
    ):
        with pytest.raises(CheckpointError, match="memory bank is empty"):
            fail()
    with pytest.raises(ConfigError, match="no embeddings"):
        model.fit()


def test_a_state_dict_brings_its_bank_whatever_its_size(fitted: Patchcore, tiny_weights: Path) -> None:
    for rows in (3, 1000):
        fresh = PatchcoreModel(["layer2", "layer3"], TINY_BACKBONE, pre_trained=False)
        state = {**fitted.model.state_dict(), "memory_bank": torch.randn(rows, 384)}
        fresh.load_state_dict(state)
        assert torch.equal(fresh.memory_bank, state["memory_bank"])
    whole = build(tiny_weights)
    half = {f"model.{name}": tensor for name, tensor in state.items()} | {
        "model.memory_bank": torch.ones(7, 384).half()
    }
    whole.load_state_dict(half)
    assert (whole.model.memory_bank.dtype, len(whole.model.memory_bank)) == (torch.float32, 7)
    assert whole(torch.zeros(1, *SIZE, 3, dtype=torch.uint8)).pred_score.isfinite().all()
    assert set(load_file(tiny_weights)) <= {
        name.removeprefix("feature_extractor.network.") for name in fitted.model.state_dict()
    }


def test_steps_take_further_arguments_and_fit_a_model_by_hand(tiny_weights: Path, data: MVTec) -> None:
    model = build(tiny_weights)
    batches = list(ImageDataset(data.train, model.pre_processor.spec).batches(5))
    for index, batch in enumerate(batches):
        loss = model.training_step(batch, index, dataloader_idx=0)
        assert float(loss) == 0
    assert [len(pool) for pool in model.embeddings] == [5 * 64, 5 * 64, 2 * 64]
    model.fit()
    scored = model.validation_step(batches[0], 0, dataloader_idx=0)
    assert scored.pred_score.shape == (5,)
    assert scored.anomaly_map.shape == (5, 1, *SIZE)
    assert isinstance(model(batches[0].image), InferenceBatch)


def test_the_pre_processor_sees_the_same_pixels_in_every_form(fitted: Patchcore) -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (90, 70, 3), np.uint8)
    prepare = fitted.pre_processor
    expected = prepare(frame)
    assert expected.shape == (1, 3, *SIZE)
    rgb = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1)
    sized = torch.from_numpy(preprocess(frame, prepare.spec))[None]
    for form in (
        rgb,
        rgb[None],
        rgb.float() / 255,
        sized,
        torch.from_numpy(frame)[None],
        frame.astype(np.uint16) * 257,
    ):
        assert torch.equal(prepare(form), expected)
    assert prepare(torch.stack([rgb, rgb])).shape == (2, 3, *SIZE)


@pytest.mark.parametrize("wrong", [torch.zeros(1, 1, 64, 64), torch.full((3, 64, 64), 255.0), torch.zeros(3, 64)])
def test_the_pre_processor_does_not_guess(wrong: torch.Tensor, fitted: Patchcore) -> None:
    with pytest.raises(FrameError):
        fitted.pre_processor(wrong)


def test_without_a_pre_processor_images_come_normalised(
    fitted: Patchcore, tiny_weights: Path, data: MVTec, engine: Engine, tmp_path: Path
) -> None:
    model = build(tiny_weights, pre_processor=False)
    (batch,) = ImageDataset(data.train, fitted.pre_processor.spec).batches(12)
    model.training_step(Batch(fitted.pre_processor(batch.image)))
    model.fit()
    assert torch.equal(model.model.memory_bank, fitted.model.memory_bank)
    with pytest.raises(ConfigError, match="without a pre-processor"):
        engine.fit(model, data)
    with pytest.raises(ConfigError, match="cannot be saved"):
        engine.export(model, data, tmp_path / "bundle")


def test_a_crop_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ConfigError, match="centre crop is larger"):
        Patchcore.configure_pre_processor((64, 64), (80, 64))
    assert Patchcore.configure_pre_processor((64, 80), (48, 64)).spec.input_size == (48, 64)


@pytest.mark.parametrize("device", ["nowhere", "cuda:99"])
def test_a_device_that_torch_does_not_have_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"(try|give) --device (auto, )?cpu"):
        Engine(device)


def test_labelled_defects_among_the_validation_images_set_the_thresholds_of_the_highest_f1(
    tiny_weights: Path, data: MVTec, engine: Engine
) -> None:
    both = DataModule(data.root, data.train, [*data.validation, *(item for item in data.test if item.is_defective)])
    thresholds = []
    for target in (None, 0.1):
        model = build(tiny_weights, post_processor=PostProcessor(target_fpr=target))
        engine.fit(model, both)
        thresholds.append(model.post_processor.thresholds.image)
    scores = collect_scores(engine.stream(model, ImageDataset(both.validation, model.pre_processor.spec)))
    good, bad = scores.scores[~scores.labels], scores.scores[scores.labels]
    assert thresholds[0] == pytest.approx((good.max() + bad.min()) / 2)
    assert thresholds[1] == pytest.approx(1.001 * good.max())


def test_given_thresholds_are_kept(tiny_weights: Path, data: MVTec, engine: Engine) -> None:
    given = Thresholds(image=1e-6, pixel=1e-6)
    model = build(tiny_weights, post_processor=PostProcessor(given))
    engine.fit(model, data)
    assert model.post_processor.thresholds == given
    (batch,) = engine.predict(model, data.test[0].path)
    assert bool(batch.pred_label)
    assert isinstance(data.test[0], ImageItem)


def test_pictures_of_equal_names_in_different_folders_are_all_written(
    fitted: Patchcore, tiny_data: Path, engine: Engine, tmp_path: Path
) -> None:
    source = next((tiny_data / "test" / "good").iterdir())
    for lot in ("lotA", "lotB"):
        folder = tmp_path / "src" / lot / "cam1"
        folder.mkdir(parents=True)
        shutil.copy(source, folder / "0.png")
    engine.predict(fitted, tmp_path / "src", output=tmp_path / "pictures")
    written = sorted(path.relative_to(tmp_path / "pictures").as_posix() for path in tmp_path.rglob("pictures/**/*.png"))
    assert written == ["lotA/cam1/0.png", "lotB/cam1/0.png"]
