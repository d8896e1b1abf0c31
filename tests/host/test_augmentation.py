"""Augmentations of the bank: what copies are, what they buy, and that nothing is judged by copies of itself."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import good_part, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st

from patchcore_edge.data import DataModule, ImageItem
from patchcore_edge.data.augmentation import BRIGHTNESS, Augmenter, augmented
from patchcore_edge.engine import Engine
from patchcore_edge.fit.outliers import find_outliers
from patchcore_edge.fit.storage import FeatureStorageOptions
from patchcore_edge.jobs import fitting, out_of_sample
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.cross_validation import Scorer, folds, out_of_fold_scores, unseen_bank
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge.models import Patchcore
from patchcore_edge.models.images_pool import without_copies
from patchcore_edge.models.k_center_greedy import Pool
from patchcore_edge.runs.checkpoint import RUN_FILE, load_run
from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions, PcaOptions
from patchcore_edge_runtime.errors import CheckpointError, ConfigError, FrameError

FOUR = AugmentOptions(kinds=("brightness", "contrast", "shift", "turn"))
LIGHT_AND_PLACE = AugmentOptions(kinds=("brightness", "shift"), copies=6)


def picture(seed: int = 0, height: int = 48, width: int = 64) -> np.ndarray:
    smooth = cv2.GaussianBlur(np.random.default_rng(seed).uniform(0, 255, (height, width, 3)), (0, 0), 3)
    return np.uint8(np.clip((smooth - 127) * 4 + 127, 20, 200))


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good parts, under one lamp and in one fixture."""
    folder = tmp_path_factory.mktemp("parts")
    for place in range(4):
        cv2.imwrite(str(folder / f"{place}.png"), good_part(place))
    return folder


# What copies are.


@settings(max_examples=30, deadline=None)
@given(
    st.sets(st.sampled_from(Augmentation), min_size=1),
    st.integers(1, 5),
    st.tuples(st.integers(8, 40), st.integers(8, 40)),
    st.integers(0, 2**32),
)
def test_copies_are_images_and_the_same_ones_each_time(
    kinds: set[Augmentation], copies: int, size: tuple[int, int], seed: int
) -> None:
    options, image = AugmentOptions(kinds=tuple(kinds), copies=copies), picture(3, *size)
    made = augmented(image, options, seed)
    assert len(made) == options.made
    for copy, again in zip(made, augmented(image.copy(), options, seed), strict=True):
        assert (copy.shape, copy.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(copy, again)


def test_another_seed_or_another_image_gives_other_copies() -> None:
    image, other = picture(), picture(1)
    assert not np.array_equal(augmented(image, FOUR, 0)[0], augmented(image, FOUR, 1)[0])
    gains = [augmented(one, AugmentOptions(kinds=("brightness",)))[0].mean() / one.mean() for one in (image, other)]
    assert gains[0] != pytest.approx(gains[1], abs=1e-3)


def test_a_copy_of_an_image_does_not_depend_on_the_images_beside_it() -> None:
    first, second = picture(), picture(1)
    copied = Augmenter(FOUR, 7)
    both, alone = (copied(torch.from_numpy(np.stack(images))) for images in ([first, second], [second]))
    assert torch.equal(both[copied.pictures :], alone)
    assert torch.equal(both[0], torch.from_numpy(first))


def test_flips_are_exact_and_each_comes_before_one_comes_twice() -> None:
    image = picture()
    (across,) = augmented(image, AugmentOptions(kinds=("flip-h",), copies=9))
    np.testing.assert_array_equal(across, image[:, ::-1])
    both = augmented(image, AugmentOptions(kinds=("flip-v", "flip-h"), copies=9))
    for copy, wanted in zip(both, (image[:, ::-1], image[::-1], image[::-1, ::-1]), strict=True):
        np.testing.assert_array_equal(copy, wanted)


def test_few_copies_cover_dark_and_bright() -> None:
    image = picture()
    for seed in range(20):
        gains = [copy.mean() / image.mean() for copy in augmented(image, AugmentOptions(kinds=("brightness",)), seed)]
        assert 1 - BRIGHTNESS - 0.01 <= min(gains) < 0.96
        assert 1.04 < max(gains) <= 1 + BRIGHTNESS + 0.01


def test_contrast_keeps_the_mean_and_changes_the_spread() -> None:
    image = picture()
    for copy in augmented(image, AugmentOptions(kinds=("contrast",))):
        assert copy.mean() == pytest.approx(image.mean(), rel=0.01)
        assert 0.84 < copy.std() / image.std() < 1.16


@pytest.mark.parametrize("kind", ["shift", "turn"])
def test_a_moved_copy_has_no_black_wedge_and_moves_little(kind: str) -> None:
    image = picture(height=200, width=200)
    for copy in augmented(image, AugmentOptions(kinds=(kind,))):
        assert copy.min() > 0.5 * image.min()
        ((x, y), _) = cv2.phaseCorrelate(*(np.float64(one[..., 0]) for one in (image, copy)))
        assert max(abs(x), abs(y)) <= 0.031 * 200
        assert not np.array_equal(copy, image)


@pytest.mark.parametrize("wrong", [{"kinds": ()}, {"kinds": ("blur",)}, {"kinds": ("shift",), "copies": 0}])
def test_augmentations_that_cannot_be_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        AugmentOptions(**wrong)


def test_float_images_are_not_augmented_in_silence() -> None:
    with pytest.raises(FrameError, match="uint8"):
        Augmenter(FOUR)(torch.zeros(1, 3, 8, 8))


# What they buy.


def model_of(weights: Path, augment: AugmentOptions | None, pca: PcaOptions | None = None) -> Patchcore:
    return Patchcore(
        "resnet18",
        coreset_sampling_ratio=0.5,
        pre_processor=Patchcore.configure_pre_processor((64, 64)),
        post_processor=False,
        weights=weights,
        augment=augment,
        pca=pca,
    )


def test_a_tired_lamp_or_a_loose_fixture_scores_nearer_to_good(parts: Path, tiny_weights: Path) -> None:
    items = [ImageItem(path) for path in sorted(parts.iterdir())]
    good = [good_part(100 + place) for place in range(8)]
    dimmed = [np.uint8(image * 0.9) for image in good]
    moved = [np.roll(image, (1, 2), (0, 1)) for image in good]
    beyond: list[list[float]] = []
    for augment in (None, LIGHT_AND_PLACE):
        model = model_of(tiny_weights, augment)
        Engine("cpu", progress=False).fit(model, DataModule(parts, items))
        usual, *changed = (
            np.median([float(model(image).pred_score) for image in images]) for images in (good, dimmed, moved)
        )
        beyond.append([score / usual for score in changed])
    (dim, move), (dim_known, move_known) = beyond
    assert dim > 1.2  # without, less light looks like a defect
    assert dim_known < 1 + (dim - 1) / 2
    assert move_known <= move


def test_the_training_step_augments_as_the_engine_does(parts: Path, tiny_weights: Path) -> None:
    model = model_of(tiny_weights, FOUR)
    dataset = DataModule.dataset([ImageItem(path) for path in sorted(parts.iterdir())], model.pre_processor.spec)
    (batch,) = dataset.batches(4)
    model.training_step(batch)
    with Engine("cpu", progress=False).features(model, dataset, augment=True) as store:
        assert torch.allclose(store.pool()[:], model.embeddings[0], atol=1e-4)


# Nothing is judged by copies of itself.


def marked(images: int, pictures: int, patches: int = 4) -> torch.Tensor:
    """Features of one dimension that say whose they are: 1000 for each image, 10 for each copy, 1 for each patch."""
    image, picture, patch = np.meshgrid(*(np.arange(n) for n in (images, pictures, patches)), indexing="ij")
    return torch.from_numpy((1000 * image + 10 * picture + patch).reshape(-1, 1).astype(np.float32))


class Listening(Scorer):
    """Writes down what is scored by which bank."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Identity(), (2, 2), (8, 8))
        self._model.memory_bank = torch.empty(0, 1)
        self.heard: list[tuple[set[int], set[int], int]] = []

    def __call__(self, rows: torch.Tensor, bank: torch.Tensor, space: object = None) -> tuple[float, float]:
        scored, pictures = ({int(value) // unit for value in rows.ravel()} for unit in (1000, 10))
        self.heard.append((scored, {int(value) // 1000 for value in bank.ravel()}, len(bank)))
        assert pictures == {100 * image for image in scored}  # as it is, and no copy
        return 0.0, 0.0


@pytest.mark.parametrize("pictures", [1, 4])
def test_a_folds_bank_has_the_copies_of_the_others_and_none_of_its_own(pictures: int) -> None:
    pool, scorer = marked(6, pictures), Listening()
    parted = folds(np.array([0, 0, 1, 2, 3, 4]), 0)
    out_of_fold_scores(scorer, pool, parted, 1.0, 0)
    assert sorted(image for scored, _, _ in scorer.heard for image in scored) == list(range(6))
    for (image,), seen, size in scorer.heard:
        (own,) = [set(fold.tolist()) for fold in parted if image in fold]
        assert seen == set(range(6)) - own
        assert size == len(seen) * pictures * 4


@pytest.mark.parametrize("pictures", [1, 3])
def test_the_gates_bank_has_no_copy_of_an_unseen_image(pictures: int) -> None:
    bank, unseen = unseen_bank(marked(6, pictures), np.arange(6), 1000, 0)
    assert len(unseen) == 2
    assert {int(value) // 1000 for value in bank.ravel()} == set(range(6)) - set(unseen.tolist())
    assert len(bank) == 4 * pictures * 4


def test_the_images_own_rows_are_told_from_their_copies() -> None:
    assert without_copies(pool := marked(3, 1), 3, 4) is pool
    own = without_copies(marked(3, 2), 3, 4)
    assert own[0:12].ravel().tolist() == marked(3, 1).ravel().tolist()


def test_an_image_is_no_outlier_by_its_copies_and_not_excused_by_them() -> None:
    pool = torch.randn(5, 3, 4, 8, generator=torch.Generator().manual_seed(0))
    pool[2] += 30  # with its copies
    found = find_outliers(pool.reshape(-1, 8), list(range(0, 60, 2)), [Path(f"{i}") for i in range(5)], (2, 2))
    assert {len(patches) for patches in found.patches.values()} == {4}
    assert found.suspects == [2]


# From the command line on.


@pytest.fixture(scope="module")
def words(tiny_weights: Path) -> list[str]:
    shape = ["--backbone", "resnet18", "--layers", "layer2,layer3", "--image-size", "64", "--device", "cpu"]
    return [*shape, "--weights", str(tiny_weights), "--coreset-size", "300"]


def test_train_and_calibrate_from_the_command_line(words: list[str], tiny_data: Path, tmp_path: Path) -> None:
    good = tiny_data / "train" / "good"
    done = run_cli("train", good, "-o", tmp_path / "run", *words, "--augment", "shift,brightness,flip-h")
    assert done.returncode == 0, done.stderr
    assert "12 images with 3 augmented copies of each give 3,072 patches x 384, 4 times those" in done.stdout
    assert "Fitted 12 images, 3 augmented copies of each: 300 of 3,072 patches kept." in done.stdout
    model, facts = load_run(tmp_path / "run")
    assert facts.augment == model.augment == AugmentOptions(kinds=("brightness", "shift", "flip-h"))
    assert len(facts.train_sha256) == 12
    assert len(list((tmp_path / "run" / "train_samples").iterdir())) == 12
    done = run_cli("calibrate", tmp_path / "run", "--data", good, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "cross-fitted" in done.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--augment", "blur"], "--augment is 'blur'; give some of brightness, contrast"),
        (["--augment", ","], "--augment is ','"),
        (["--augment", "shift", "--augment-copies", "0"], "--augment-copies: "),
        (["--augment-copies", "2"], "--augment-copies needs --augment"),
    ],
)
def test_wrong_words_are_refused_in_one_sentence(given: list[str], said: str, tiny_data: Path, tmp_path: Path) -> None:
    done = run_cli("train", tiny_data, "-o", tmp_path / "run", *given)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_calibrate_makes_the_banks_of_its_folds_as_the_fit_made_its_own(
    parts: Path, tiny_options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pools: list[torch.Tensor] = []

    def seen(module: object, name: str) -> None:
        real = getattr(module, name)

        def watched(pool: Pool, *rest: object) -> object:
            pools.append(torch.as_tensor(pool[:]).clone())
            return real(pool, *rest)

        monkeypatch.setattr(module, name, watched)

    options = replace(tiny_options, augment=FOUR, pca=PcaOptions(dimensions=0.95))
    seen(fitting, "without_copies")
    seen(out_of_sample, "without_copies")
    train_run(parts, tmp_path / "run", options)
    calibrate_run(tmp_path / "run", parts, 0.3, "cpu")
    fitted, calibrated = pools
    assert fitted.shape == calibrated.shape == (4 * 4 * 64, 384)
    assert torch.allclose(fitted, calibrated, atol=1e-4)


def test_outliers_are_dropped_with_their_copies(tiny_data: Path, tiny_options: TrainOptions, tmp_path: Path) -> None:
    data = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "data"))
    shutil.copy(next((tiny_data / "test" / "scratch").iterdir()), data / "bad.png")
    options = replace(tiny_options, augment=FOUR)
    facts = train_run(data, tmp_path / "run", replace(options, outliers=1))
    assert (len(facts.train_sha256), facts.patches) == (12, 12 * 4 * 64)
    # As if it had never been there.
    (data / "bad.png").unlink()
    train_run(data, tmp_path / "clean", options)
    banks = [load_run(tmp_path / name)[0].model.memory_bank for name in ("run", "clean")]
    assert torch.allclose(*(bank.sort(0).values for bank in banks), atol=1e-4)


def test_an_interrupted_fit_goes_on_with_the_same_copies_only(
    parts: Path, tiny_options: TrainOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(tiny_options, augment=FOUR)

    def interrupted(*_: object) -> None:
        raise CheckpointError("the disk is full")

    def goes_on(given: TrainOptions) -> bool:
        said: list[str] = []
        with pytest.raises(CheckpointError):
            train_run(parts, tmp_path / "run", given, said.append)
        return any("Going on after 4 images" in sentence for sentence in said)

    monkeypatch.setattr("patchcore_edge.jobs.train.fit_bank", interrupted)
    assert not goes_on(options)
    assert goes_on(options)
    assert not goes_on(replace(options, augment=None))
    assert not goes_on(options)
    assert not goes_on(replace(options, augment=LIGHT_AND_PLACE.model_copy(update={"copies": 3})))
    assert not goes_on(replace(options, seed=1))


def test_a_store_keeps_the_copies_beside_their_image_on_disk(parts: Path, tiny_weights: Path, tmp_path: Path) -> None:
    model = model_of(tiny_weights, FOUR)
    dataset = DataModule.dataset([ImageItem(path) for path in sorted(parts.iterdir())], model.pre_processor.spec)
    engine, storage = Engine("cpu", batch_size=5, progress=False), FeatureStorageOptions(tmp_path / "f", memory_limit=1)
    with (
        engine.features(model, dataset, augment=True) as store,
        engine.features(model, dataset, storage, augment=True) as on_disk,
    ):
        assert np.allclose(on_disk.pool()[:].astype(np.float32), store.pool()[:], rtol=1e-2, atol=1e-2)
        with engine.features(model, dataset) as plain:
            own = without_copies(store.pool(), 4, 64)
            assert torch.allclose(torch.as_tensor(own[:]), plain.pool()[:], atol=1e-4)


def test_a_run_from_before_there_were_augmentations_opens(tiny_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    text = (run / RUN_FILE).read_text(encoding="utf-8")
    older = text.replace('  "augment": null,\n', "")
    assert older != text
    (run / RUN_FILE).write_text(older, encoding="utf-8")
    assert load_run(run)[1].augment is None
