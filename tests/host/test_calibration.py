"""Thresholds keep the false-reject rate they promise, and say what they cannot promise."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_BACKBONE, TINY_SIZE, good_part, run_cli

from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.cross_validation import OutOfFold, Scorer, folds, out_of_fold_scores
from patchcore_edge.metrics.pixel_histogram import PixelHistogram
from patchcore_edge.models import PatchcoreModel
from patchcore_edge.runs.checkpoint import load_calibration
from patchcore_edge.runs.facts import Calibration, RunFacts
from patchcore_edge.thresholds import calibrate, calibrate_on_defects, describe
from patchcore_edge_runtime.errors import ConfigError, DataError

DRAWS = 2000


def draw(rng: np.random.Generator, n: int) -> np.ndarray:
    """Scores with a heavy right tail; their distribution function is ``rate_above``."""
    return np.exp(rng.normal(size=n)).astype(np.float32)


def rate_above(threshold: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return np.asarray(norm.sf(np.log(threshold)))


@pytest.mark.parametrize(("n", "target"), [(40, 0.1), (250, 0.02), (999, 0.001)])
def test_over_many_draws_the_false_reject_rate_is_kept_and_so_is_its_bound(n: int, target: float) -> None:
    rng = np.random.default_rng(0)
    found = [calibrate(scores, scores, target, "") for scores in (draw(rng, n) for _ in range(DRAWS))]
    realised = rate_above(np.array([thresholds.image for thresholds, _ in found]))
    bounds = np.array([facts.fpr_upper_bound for _, facts in found])
    noise = 4 * realised.std() / np.sqrt(DRAWS)
    assert realised.mean() <= target + noise
    # Not merely by being far too high: the threshold's small margin aside, the rate is the one that is said.
    assert realised.mean() >= found[0][1].supported_fpr * 0.97 - noise
    assert (realised <= bounds).mean() >= 0.95 - 4 * np.sqrt(0.05 * 0.95 / DRAWS)


def test_too_few_images_are_said_to_be_too_few() -> None:
    scores = draw(np.random.default_rng(0), 50)
    thresholds, facts = calibrate(scores, scores, 0.001, "")
    assert not facts.supports_target
    assert facts.supported_fpr == pytest.approx(1 / 51)
    assert thresholds.image > scores.max()
    text = describe(thresholds, facts)
    assert "too few" in text
    assert "at least 999" in text


def test_999_images_are_enough_for_one_in_a_thousand() -> None:
    scores = draw(np.random.default_rng(0), 999)
    thresholds, facts = calibrate(scores, scores, 0.001, "")
    assert facts.supports_target
    assert "too few" not in describe(thresholds, facts)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_outside_0_and_1_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate(np.ones(5, np.float32), np.ones(5, np.float32), rate, "")


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [np.inf]])
def test_scores_that_are_no_numbers_are_refused(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    with pytest.raises(ConfigError, match="finite"):
        calibrate(values, values, 0.1, "")


def test_scores_of_zero_are_those_of_images_the_bank_has_seen() -> None:
    with pytest.raises(ConfigError, match="held out"):
        calibrate(np.zeros(5, np.float32), np.zeros(5, np.float32), 0.1, "")


def labelled(good: list[float], bad: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([*good, *bad], np.float32), np.array([False] * len(good) + [True] * len(bad))


def test_with_labelled_defects_the_threshold_has_the_highest_f1_of_all() -> None:
    rng = np.random.default_rng(0)
    scores, labels = labelled(list(rng.normal(1, 0.2, 60)), list(rng.normal(1.5, 0.3, 30)))
    thresholds, facts = calibrate_on_defects(scores, labels, scores, None, 0.1, "")

    def f1(threshold: float) -> float:
        flagged = scores > threshold
        return float(2 * (flagged & labels).sum() / (flagged.sum() + labels.sum()))

    assert f1(thresholds.image) == pytest.approx(facts.f1)
    assert facts.f1 >= max(f1(float(cut)) for cut in [0, *scores])
    assert (facts.method, facts.n, facts.defects) == ("f1", 60, 30)
    assert "30 defective images" in describe(thresholds, facts)


def test_the_threshold_lies_midway_when_good_and_defective_are_apart() -> None:
    scores, labels = labelled([1, 2], [4, 5])
    thresholds, facts = calibrate_on_defects(scores, labels, scores, None, 0.1, "")
    assert thresholds.image == pytest.approx(3)
    assert facts.f1 == 1
    # No masks: no good image's map exceeds the pixel threshold.
    assert 2 < thresholds.pixel < 2.01


def test_masks_set_the_pixel_threshold() -> None:
    scores, labels = labelled([1, 2], [4, 5])
    maps, masks = np.ones((4, 4, 4), np.float32) * scores[:, None, None], np.zeros((4, 4, 4), bool)
    maps[2:, 1:] = 3.0
    masks[2:, 0] = True
    thresholds, _ = calibrate_on_defects(scores, labels, scores, PixelHistogram.of(maps, masks), 0.1, "")
    assert thresholds.pixel == pytest.approx(3.5)


def test_the_pixel_threshold_has_the_highest_f1_of_all() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((4, 20, 20)) < 0.2
    maps = (20 * np.exp(0.2 * (rng.normal(size=masks.shape) + 2 * masks))).astype(np.float32)
    scores, labels = labelled([1, 2], [4, 5])
    pixels = PixelHistogram.of(maps, masks)
    cut = calibrate_on_defects(scores, labels, scores, pixels, 0.1, "")[0].pixel

    def f1(threshold: float) -> float:
        flagged = maps > threshold
        return float(2 * (flagged & masks).sum() / (flagged.sum() + masks.sum()))

    assert f1(cut) >= max(f1(float(other)) for other in maps.ravel()) - 1e-12


def test_one_kind_alone_has_no_f1_and_a_useless_model_no_threshold() -> None:
    scores, labels = labelled([1, 2], [])
    with pytest.raises(ConfigError, match="give both"):
        calibrate_on_defects(scores, labels, scores, None, 0.1, "")
    scores, labels = labelled([5], [1, 1, 1, 1, 1, 1])
    with pytest.raises(ConfigError, match="cannot tell"):
        calibrate_on_defects(scores, labels, scores, None, 0.1, "")


def test_the_bound_of_the_f1_threshold_holds_although_it_was_chosen() -> None:
    rng = np.random.default_rng(0)
    held = []
    for _ in range(300):
        scores, labels = labelled(list(draw(rng, 80)), list(1 + 2 * draw(rng, 20)))
        thresholds, facts = calibrate_on_defects(scores, labels, scores, None, 0.1, "")
        held.append(rate_above(np.array(thresholds.image)) <= facts.fpr_upper_bound)
    assert np.mean(held) >= 0.95


def test_folds_hold_every_image_once_in_nearly_equal_sizes() -> None:
    parts = folds(np.arange(23), seed=1, count=5)
    assert sorted(int(i) for part in parts for i in part) == list(range(23))
    assert {len(part) for part in parts} == {4, 5}
    assert len(folds(np.arange(3), seed=1)) == 3
    assert [len(folds(np.arange(n), seed=1)) for n in (100, 101, 1001)] == [20, 10, 5]
    with pytest.raises(DataError, match="more good images"):
        folds(np.arange(1), seed=1)
    with pytest.raises(DataError, match="one part or one batch"):
        folds(np.zeros(5, np.int64), seed=1)


@pytest.fixture(scope="module")
def small_model() -> PatchcoreModel:
    torch.manual_seed(0)
    return PatchcoreModel(["layer2"], "resnet18", pre_trained=False, num_neighbors=3).eval()


def cross_fitted(model: PatchcoreModel, pool: torch.Tensor, images: int) -> OutOfFold:
    return out_of_fold_scores(Scorer(model, (4, 4), (32, 32)), pool, folds(np.arange(images), 0), 1.0, 0)


def test_cross_fitted_scores_are_those_of_a_bank_without_the_image(small_model: PatchcoreModel) -> None:
    """Each image holds a patch that no other image has: seen by its bank it would score near zero."""
    images, patches = 7, 16
    pool = torch.randn(images, patches, 32, generator=torch.Generator().manual_seed(0)) * 0.1
    for image in range(images):
        pool[image, 5, image] = 10.0
    flat = pool.reshape(-1, 32)
    small_model.memory_bank = flat.clone()
    before = small_model.memory_bank
    found = cross_fitted(small_model, flat, images)
    scores = found.scores
    assert small_model.memory_bank is before
    assert scores.shape == found.maxima.shape == (images,)
    expected = []
    for fold in folds(np.arange(images), 0):
        others = torch.tensor([i for i in range(images) if i not in fold])
        for image in fold:
            distances = (pool[image][:, None] - pool[others].reshape(1, -1, 32)).norm(dim=2).amin(1)
            expected.append((int(image), float(distances.max())))
    farthest = np.array([distance for _, distance in sorted(expected)])
    # Eq. 7 multiplies by one minus a softmax weight, which is between 0 and 1.
    assert (scores <= farthest * (1 + 1e-5)).all()
    assert (scores > 0.5 * farthest).all()


def test_a_cross_fitted_threshold_keeps_the_rate_on_new_images_of_the_full_bank(small_model: PatchcoreModel) -> None:
    rng = torch.Generator().manual_seed(0)
    small_model.num_neighbors = 1
    target, realised = 0.2, []
    for _ in range(12):
        pool = torch.randn(30 * 16, 6, generator=rng)
        found = cross_fitted(small_model, pool, 30)
        thresholds, _ = calibrate(found.scores, found.maxima, target, "", "cross-fitted")
        new = torch.randn(200 * 16, 6, generator=rng)
        small_model.memory_bank = pool
        new_scores = small_model.nearest_neighbors(new, 1)[0].reshape(200, 16).amax(1)
        realised.append(float((new_scores > thresholds.image).float().mean()))
    assert np.mean(realised) <= target + 2 * np.std(realised) / np.sqrt(len(realised))


def of_run(run: Path) -> Calibration:
    found = load_calibration(run)
    assert found is not None
    return found


def test_labelled_defects_in_the_validation_split_set_the_thresholds(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    shutil.copytree(data / "test" / "scratch", data / "validation" / "scratch")
    shutil.copytree(data / "ground_truth", data / "validation" / "ground_truth")
    done = run_cli("calibrate", run, "--data", data)
    assert "10 good images and 6 defective images, F1 1.000" in done.stdout
    found = of_run(run)
    assert (found.facts.method, found.facts.defects, found.facts.f1) == ("f1", 6, 1.0)
    assert found.facts.scores.max < found.thresholds.image
    # Only good images are kept: the export takes them for such.
    assert len(found.images) == 10

    assert run_cli("calibrate", run, "--data", data, "--target-fpr", 0.2).returncode == 0
    assert of_run(run).facts.method == "held-out"
    assert of_run(run).thresholds.image < found.thresholds.image


def test_without_held_out_images_the_training_images_are_cross_fitted(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    done = run_cli("calibrate", run, "--data", tiny_data / "train" / "good", "--target-fpr", 0.1)
    assert "from 12 good images" in done.stdout
    found, held_out = of_run(run), of_run(tiny_run)
    assert found.facts.method == "cross-fitted"
    # Scored by banks that hold them, these images would have scored far below the held-out ones.
    assert found.thresholds.image == pytest.approx(held_out.thresholds.image, rel=0.5)
    assert found.facts.scores.median > 0.7 * held_out.facts.scores.median
    evaluation = json.loads(run_cli("eval", run, "--data", tiny_data, "--json", "--report", tmp_path / "r.html").stdout)
    assert evaluation["recall"] == 1.0


def test_data_that_neither_was_trained_on_nor_is_held_out_is_refused(
    tiny_run: Path, tiny_data: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_data / "validation" / "good", data / "train" / "good")
    shutil.copytree(tiny_data / "test", data / "test")
    done = run_cli("calibrate", tiny_run, "--data", data)
    assert done.returncode == 2
    assert "not trained on its train/good" in done.stderr


def test_images_held_out_of_a_plain_folder_are_found_again_in_it(
    tiny_data: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "good"))
    shutil.copy(folder / "000.png", folder / "again.png")  # the same pixels on both sides, perhaps
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights)
    for seed in range(2):
        run = tmp_path / f"run{seed}"
        small = ("--image-size", TINY_SIZE, "--coreset-sampling-ratio", 0.25, "--seed", seed)
        done = run_cli("train", folder, "-o", run, *options, *small, "--val-split-ratio", 0.4)
        assert "Fitted 8 images, 5 held out" in done.stdout, done.stderr
        facts = RunFacts.model_validate_json((run / "run.json").read_bytes())
        outside = set(facts.held_out_sha256) - set(facts.train_sha256)
        assert len(outside) >= 4
        cv2.imwrite(str(folder / "new.png"), good_part(seed))

        expected = len(outside) + 1 + (len(facts.held_out_sha256) - len(set(facts.held_out_sha256)))
        # Some of the discs look as like as two pictures of one; those that the fit has seen are left out.
        expected -= len(set(facts.left_out_sha256) - set(facts.train_sha256))
        assert f"from {expected} good images" in run_cli("calibrate", run, "--data", folder).stdout
        found = of_run(run)
        assert (found.facts.method, found.facts.images) == ("held-out", expected)
        assert found.facts.scores.min > 0.5 * found.facts.scores.max  # none of an image that the bank has seen
        (folder / "new.png").unlink()

    # Nothing was held out of this folder: what lies in it beside the fit's images is no split of ours.
    other = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "other"))
    for digest_of in facts.held_out_sha256:
        for path in other.iterdir():
            if hashlib.sha256(path.read_bytes()).hexdigest() == digest_of:
                path.unlink()
    cv2.imwrite(str(other / "new.png"), good_part(9))
    assert "trained on" in run_cli("calibrate", run, "--data", other).stderr


def test_an_mvtec_layout_without_validation_is_split_too(tiny_data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for kind in ("train", "test"):
        shutil.copytree(tiny_data / kind, data / kind)
    options = ("--backbone", TINY_BACKBONE, "--layers", "layer2,layer3", "--weights", tiny_weights, "--image-size", 64)
    run = tmp_path / "run"
    done = run_cli("train", data, "-o", run, *options, "--val-split-ratio", 0.25)
    assert "Fitted 9 images, 3 held out" in done.stdout, done.stderr
    facts = RunFacts.model_validate_json((run / "run.json").read_bytes())
    expected = 3 - len(facts.left_out_sha256)
    assert f"from {expected} good images:" in run_cli("calibrate", run, "--data", data).stdout
    assert run_cli("eval", run, "--data", data).returncode == 0
    assert f"9 images of {data}, 3 held out" in (run / "report.html").read_text(encoding="utf-8")
    refused = run_cli("train", data, "-o", run, *options, "--val-split-ratio", 1)
    assert refused.returncode == 2
    assert "hold out" in refused.stderr


def test_a_file_that_the_fit_had_to_skip_does_not_stand_in_the_way(
    tiny_run: Path, tiny_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    folder = Path(shutil.copytree(tiny_data / "train" / "good", tmp_path / "good"))
    (folder / "broken.png").write_bytes(b"no image")
    done = run_cli("calibrate", run, "--data", folder)
    assert "from 12 good images" in done.stdout, done.stderr
    assert any("broken.png" in message for message in caplog.messages)
    assert "broken.png" in run_cli("calibrate", run, "--data", folder, "--strict").stderr


def test_calibrating_decodes_each_image_once_and_opens_it_for_the_report_besides(
    tiny_data: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    opened: Counter[str] = Counter()
    decoded: list[int] = []
    read_bytes, decode = Path.read_bytes, cv2.imdecode

    def read(path: Path) -> bytes:
        opened[path.name] += path.is_relative_to(tiny_data)
        return read_bytes(path)

    def imdecode(*given: Any) -> Any:
        decoded.append(1)
        return decode(*given)

    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(cv2, "imdecode", imdecode)
    result = calibrate_run(run, tiny_data / "train" / "good", 0.1, "cpu")
    images = len(result.scored.items)
    assert result.scored.method == "cross-fitted"
    assert opened == Counter({item.path.name: 2 for item in result.scored.items})
    assert len(decoded) == images
    assert np.isfinite(result.scored.good.scores).all()
    assert result.facts == load_calibration(run).facts
