"""The recipe is found for the part: what is judged, how sure that is, and what is taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from conftest import good_part, run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from patchcore_edge.data.photo_size import PhotoSizes, photo_sizes
from patchcore_edge.models import Patchcore, PatchcoreModel
from patchcore_edge.models.feature_extractor import layer_strides
from patchcore_edge.models.feature_space import pool_moments, pool_origin
from patchcore_edge.models.k_center_greedy import KCenterGreedy
from patchcore_edge.runs.checkpoint import load_calibration, load_run
from patchcore_edge.tuning.choice import Cost, Judged, Limits, choose, finalists, frontier, to_beat
from patchcore_edge.tuning.evidence import Evidence, combined, evidence
from patchcore_edge.tuning.grounds import Folds, pictures_of
from patchcore_edge.tuning.journal import Journal
from patchcore_edge.tuning.judge import SHARES, Found, Judge, Seen
from patchcore_edge.tuning.look import Pictures
from patchcore_edge.tuning.recipe import RULES, Layout, Recipe, View, layer_sets, views
from patchcore_edge_runtime.bundle.recipe import PcaOptions, ScoreRule

VIEW = View(backbone="resnet18", layers=("layer1", "layer2", "layer3"), image_size=(64, 64), patch_stride=8)


def scores(rng: np.random.Generator, n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    good = rng.normal(size=n)
    sources = np.sort(rng.integers(0, n, m))
    drawn = np.r_[good, rng.normal(size=m) + 1 + good[sources]]
    # Their order alone counts; in even steps no two are equal but for rounding.
    steps = ((np.argsort(np.argsort(drawn)) + 1) / (n + m)).astype(np.float32)
    return steps[:n], steps[n:], sources


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 40), st.integers(1, 80), st.integers(0, 1000))
def test_the_measure_over_all_rates_is_the_area_under_the_roc(n: int, m: int, seed: int) -> None:
    good, defects, sources = scores(np.random.default_rng(seed), n, m)
    found = evidence(good, defects, sources, rate=1)
    assert found.value == pytest.approx(roc_auc_score(np.r_[np.zeros(n), np.ones(m)], np.r_[good, defects]))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 80), st.integers(0, 1000))
def test_the_measure_is_the_share_found_at_the_rates_of_a_line(tens: int, m: int, seed: int) -> None:
    n = 10 * tens
    good, defects, sources = scores(np.random.default_rng(seed), n, m)
    found = evidence(good, defects, sources)
    highest_first = np.sort(good)[::-1]
    assert found.value == pytest.approx(np.mean([(defects > highest_first[k]).mean() for k in range(tens)]))
    assert found.influence.mean() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_its_error_is_what_other_images_would_change(rate: float) -> None:
    drawn = [evidence(*scores(np.random.default_rng(seed), 60, 180), rate=rate) for seed in range(300)]
    assert np.mean([one.error for one in drawn]) == pytest.approx(np.std([one.value for one in drawn]), rel=0.15)


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 60), st.integers(0, 1000))
def test_rounding_does_not_say_which_of_two_scores_is_higher(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    good, defects, sources = scores(rng, n, 3 * n)
    # A defect away from the patch that decides leaves its image's score as it was.
    defects = np.where(np.arange(3 * n) % 3 == 0, good[sources], defects)
    first = evidence(good, defects, sources)
    rounded = (values * (1 + rng.uniform(-2e-5, 2e-5, len(values))).astype(np.float32) for values in (good, defects))
    second = evidence(*rounded, sources)
    assert second.value == pytest.approx(first.value)
    assert second.influence == pytest.approx(first.influence)


def test_two_recipes_are_compared_on_the_same_images() -> None:
    rng = np.random.default_rng(0)
    good, defects, sources = scores(rng, 80, 240)
    first = evidence(good, defects, sources)
    second = evidence(good + rng.normal(0, 0.01, 80).astype(np.float32), defects, sources)
    assert second.difference_error(first) < 0.3 * first.error
    assert first.difference_error(first) == 0


def test_what_the_kinds_of_defects_do_not_agree_on_is_no_clear_gain() -> None:
    rng = np.random.default_rng(0)
    good, sources, kinds = rng.normal(size=300).astype(np.float32), np.arange(300), np.arange(300) % 3
    plain = (rng.normal(size=300) + 1).astype(np.float32)
    one_kind = plain + np.where(kinds == 0, 0.9, 0).astype(np.float32)
    all_kinds = plain + np.float32(0.3)
    default, partly, wholly = (evidence(good, scores, sources, kinds=kinds) for scores in (plain, one_kind, all_kinds))
    assert partly.value - default.value < partly.difference_error(default)
    assert wholly.value - default.value > wholly.difference_error(default)
    assert default.value == pytest.approx(default.kinds.mean())


def test_labelled_defects_count_the_more_the_more_there_are() -> None:
    rng = np.random.default_rng(0)
    good, defects, sources = scores(rng, 100, 300)
    synthetic = evidence(good, defects, sources)
    plain = [combined(synthetic, good, np.full(count, 9, np.float32), 0.03).value for count in (0, 5, 100)]
    assert plain[0] == synthetic.value < plain[1] < plain[2] < 1


def recipe(bank: int = 100, pca: PcaOptions | None = None) -> Recipe:
    return Recipe(layout=Layout(view=VIEW, layers=("layer2",), pca=pca), score=ScoreRule.MAP_MAX, bank_size=bank)


def judged(
    value: float, estimate: float, spread: float = 0.0, sizes: tuple[float, ...] = (), pca: PcaOptions | None = None
) -> Judged:
    noise = np.random.default_rng(0).normal(0, spread, 100) if spread else np.zeros(100)
    known = Evidence(value, noise, np.array([value]), np.array(sizes or [value] * 3))
    return Judged(recipe(int(estimate), pca), known, value, value, estimate)


def test_the_frontier_has_each_step_that_is_worth_its_time() -> None:
    worse, cheap, middle, best = judged(0.7, 30), judged(0.8, 10), judged(0.85, 20), judged(0.9, 40)
    assert frontier([worse, best, cheap, middle], worse) == [cheap, middle, best]


def test_what_is_timed_has_the_default_the_best_and_steps_between() -> None:
    steps = [judged(0.5 + place / 100, 10 + place) for place in range(30)]
    default = judged(0.6, 50)
    named = finalists([*steps, default], default, 6)
    assert default in named
    assert steps[-1] in named
    assert len(named) == 6


def test_the_cheaper_is_taken_where_it_is_surely_as_good() -> None:
    default, best = judged(0.70, 30), judged(0.90, 40)
    cheap, unsure = judged(0.895, 5), judged(0.899, 4, spread=0.2)
    costs = [(default, Cost(30, 5)), (best, Cost(40, 5)), (cheap, Cost(5, 5)), (unsure, Cost(4, 5))]
    found = choose(costs, default, Limits())
    assert found is not None
    assert found[0] is cheap


@pytest.mark.parametrize(("value", "spread"), [(0.91, 0.0), (0.95, 0.8)])
def test_the_default_stays_unless_it_is_clearly_beaten(value: float, spread: float) -> None:
    default, best = judged(0.895, 30), judged(value, 31, spread)
    found = choose([(default, Cost(30, 5)), (best, Cost(31, 5))], default, Limits())
    assert found is not None
    assert found[0] is default


@pytest.mark.parametrize(("value", "spread", "taken"), [(0.73, 0.0, True), (0.73, 0.5, False), (0.69, 0.0, False)])
def test_what_is_to_be_beaten_is_centred_where_that_is_surely_better(value: float, spread: float, taken: bool) -> None:
    default, other = judged(0.70, 30), judged(0.95, 40)
    layout = default.recipe.layout.model_copy(update={"centering": 1.0})
    centred = replace(judged(value, 30, spread), recipe=default.recipe.model_copy(update={"layout": layout}))
    assert (to_beat([default, other, centred], default) is centred) == taken


@pytest.mark.parametrize(("sizes", "taken"), [((0.45, 0.90, 0.95), False), ((0.56, 0.81, 0.86), True)])
def test_what_is_taken_is_better_for_small_and_for_large_defects(sizes: tuple[float, ...], taken: bool) -> None:
    default, other = judged(0.70, 30, sizes=(0.50, 0.75, 0.80)), judged(0.80, 31, sizes=sizes)
    found = choose([(default, Cost(30, 5)), (other, Cost(31, 5))], default, Limits())
    assert found is not None
    assert (found[0] is other) == taken


def test_other_features_are_no_cheaper_form_of_the_default() -> None:
    default, smaller = judged(0.70, 30), judged(0.695, 15)
    other = judged(0.72, 10, pca=PcaOptions(dimensions=0.99))
    costs = [(one, Cost(one.estimate, 5)) for one in (default, smaller, other)]
    found = choose(costs, default, Limits())
    assert found is not None
    assert found[0] is smaller
    assert "smaller bank" in found[1]
    assert smaller in finalists([default, smaller, other], default, 6)


def test_a_budget_rules_out_what_costs_more() -> None:
    default, best, small = judged(0.7, 30), judged(0.9, 40), judged(0.6, 5)
    costs = [(default, Cost(30, 5)), (best, Cost(40, 5)), (small, Cost(5, 1))]
    found = choose(costs, default, Limits(milliseconds=10))
    assert found is not None
    assert found[0] is small
    assert "within the limits, which the default is not" in found[1]
    assert choose(costs, default, Limits(megabytes=0.5)) is None


def test_layers_are_tried_alone_and_together_from_fine_to_coarse() -> None:
    sets = layer_sets(layer_strides("resnet18"))
    assert sets[0] == ("layer2", "layer3")
    assert {("layer2",), ("layer3",), ("layer1", "layer2"), ("layer1", "layer2", "layer3")} <= set(sets)
    assert layer_sets(layer_strides("tf_efficientnet_lite0"))[0] == ("blocks.2", "blocks.4")
    assert all(len(some) <= 3 for some in layer_sets(layer_strides("vit_small_patch14_dinov2.lvd142m")))


def test_large_images_are_tried_with_patches_farther_apart() -> None:
    made = views("resnet18", layer_strides("resnet18"), [(256, 256), (384, 384), (512, 512)])
    assert [(one.image_size[0], one.patch_stride) for one in made] == [(256, 8), (384, 8), (384, 16), (512, 16)]


def patches(images: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).gamma(2.0, size=(images * 64, 6)).astype(np.float32))


@pytest.mark.parametrize(
    ("pca", "centering"),
    [(None, 0.0), (PcaOptions(dimensions=4, whitening=0.5), 0.0), (PcaOptions(dimensions=4, whitening=0.5), 0.5)],
)
def test_a_recipe_is_judged_as_the_model_scores(pca: PcaOptions | None, centering: float) -> None:
    good, defects = patches(9, 0), patches(4, 1)
    folds = [np.arange(0, 3), np.arange(3, 6), np.arange(6, 9)]
    coverage = np.zeros((4, 64), np.float32)
    coverage[:, 9] = 1
    seen = Seen(good, defects, np.array([0, 3, 6, 8]), coverage, (8, 8), (64, 64), patches(2, 2))
    found = Judge(seen, folds, 40, seed=0)(np.arange(6), pca, centering)

    model = PatchcoreModel(["layer2"], "resnet18", pre_trained=False).eval()
    by_image = good.reshape(9, 64, 6)
    by_image = by_image - centering * by_image.mean(1, keepdim=True)
    rest = by_image[3:].reshape(-1, 6)
    space = None if pca is None else pool_moments(rest, pool_origin(rest)).space(pca)
    model.feature_space = space
    for place, share in enumerate(SHARES):
        seen_by = rest if space is None else space(rest)
        model.memory_bank = KCenterGreedy(seen_by, 1.0, 0, size=round(40 * share)).sample_coreset()
        for rule, score in enumerate(RULES):
            model.score = score
            expected = model.score_patches(by_image[:3], (8, 8), (64, 64)).pred_score
            assert torch.allclose(torch.from_numpy(found.good[rule, place, :3]), expected, rtol=1e-4), (share, score)
    assert found.real.shape == (len(RULES), len(SHARES), 2)
    assert ((found.located >= 0) & (found.located <= 1)).all()


def test_a_smaller_bank_scores_higher_or_alike() -> None:
    seen = Seen(patches(6, 0), patches(1, 1), np.zeros(1, np.int64), np.ones((1, 64), np.float32), (8, 8), (64, 64))
    found = Judge(seen, [np.arange(3), np.arange(3, 6)], 64, seed=0)(np.arange(6), None)
    largest = found.good[RULES.index(ScoreRule.PATCH_MAX)]
    assert (np.diff(largest, axis=0) <= 1e-5).all()


def test_what_was_judged_is_read_again_and_what_was_cut_short_is_not(tmp_path: Path) -> None:
    journal, layout = Journal(tmp_path / "journal", "one"), recipe().layout
    shape = (len(RULES), len(SHARES), 3)
    found = Found(*(np.full(shape, place, np.float32) for place in range(3)), np.ones((4, 3), np.float32), 7)
    assert journal.read(layout) is None
    journal.write(layout, found)
    again = journal.read(layout)
    assert again is not None
    assert (again.defects == found.defects).all()
    assert again.dimensions == 7
    assert Journal(tmp_path / "journal", "other").read(layout) is None
    file = next((tmp_path / "journal").glob("*.npz"))
    file.write_bytes(file.read_bytes()[:100])
    assert journal.read(layout) is None
    assert journal.folds() is None
    journal.keep_folds(Folds([np.array([0, 2]), np.array([1])], by_lot=True))
    kept = journal.folds()
    assert kept is not None
    assert [fold.tolist() for fold in kept.images] == [[0, 2], [1]]
    assert kept.by_lot


def test_the_default_size_follows_the_photos(tmp_path: Path) -> None:
    for place, shape in enumerate([(600, 800), (604, 800), (600, 790)]):
        cv2.imwrite(str(tmp_path / f"{place}.png"), np.zeros((*shape, 3), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = photo_sizes(sorted(tmp_path.iterdir()))
    assert found == PhotoSizes(600, 800, one_shape=True)
    assert found.input_size(found.default_side, 32) == (288, 384)
    assert [PhotoSizes(side, side, one_shape=True).default_side for side in (80, 300, 700, 4000)] == [
        256,
        256,
        350,
        384,
    ]
    assert PhotoSizes(300, 200, one_shape=False).input_size(256, 14) == (252, 252)
    assert photo_sizes([tmp_path / "broken.png"]) is None


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune") / "good"
    folder.mkdir()
    for place in range(14):
        cv2.imwrite(str(folder / f"{place:03d}.png"), good_part(place))
    return folder


@pytest.fixture
def no_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs by the number of pixels and patches in place of compiled graphs, whose times are `test_meter.py`'s."""

    def meter(model: Patchcore, images: list[np.ndarray], device: str) -> dict[str, tuple[float, float]]:
        size = len(images[0]) + len(model.model.memory_bank) / 1000
        return {"fp32": (size, 2.0), "int8": (size / 2, 1.0)}

    monkeypatch.setattr("patchcore_edge.tuning.tune.load_meter", lambda: meter)


def tuned(data: Path, run: Path, weights: Path, *words: object, sizes: str = "64") -> tuple[int, str]:
    done = run_cli(
        *(
            "tune",
            data,
            "-o",
            run,
            "--backbones",
            "resnet18",
            "--weights",
            weights,
            "--device",
            "cpu",
            "--sizes",
            sizes,
        ),
        *words,
    )
    return done.returncode, done.stdout + done.stderr


def test_tune_leaves_a_calibrated_run_and_shows_what_it_tried(
    good_folder: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, "--time-limit", 0)
    assert code == 0, text
    document = json.loads((tmp_path / "run" / "tune.json").read_text(encoding="utf-8"))
    chosen = Recipe.model_validate(document["chosen"]["recipe"])
    model, facts = load_run(tmp_path / "run")
    assert (facts.backbone, facts.layers, facts.pca) == ("resnet18", chosen.layout.layers, chosen.layout.pca)
    assert (facts.score, facts.bank_size) == (chosen.score, chosen.bank_size)
    assert facts.preprocess.input_size == (64, 64)
    assert len(facts.train_sha256) == 14
    assert load_calibration(tmp_path / "run") is not None
    assert model.model.memory_bank.shape[0] == chosen.bank_size
    assert {"fp32", "int8"} <= set(document["chosen"]["costs"])
    page = (tmp_path / "run" / "tune.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "patchcore-edge train" in page
    assert not list(tmp_path.glob(".run*"))


@pytest.mark.usefixtures("no_graphs")
@pytest.mark.parametrize(("sizes", "made_at"), [("64", 64), ("64,192", 80)])
def test_no_defect_is_made_larger_than_the_photos_are(
    sizes: str, made_at: int, good_folder: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: set[tuple[int, ...]] = set()

    @contextmanager
    def watched(*words: Any) -> Iterator[Pictures]:
        with pictures_of(*words) as pictures:
            made.update(defect.image.shape for defect in pictures.defects.defects)
            yield pictures

    monkeypatch.setattr("patchcore_edge.tuning.tune.pictures_of", watched)
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, "--time-limit", 0, sizes=sizes)
    assert code == 0, text
    assert made == {(made_at, made_at, 3)}


@pytest.mark.usefixtures("no_graphs")
def test_an_interrupted_search_goes_on_from_what_it_judged(
    good_folder: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    judge = Judge.__call__

    def stopping(self: Judge, columns: np.ndarray, pca: PcaOptions | None, centering: float = 0.0) -> Found:
        calls.append(pca)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return judge(self, columns, pca, centering)

    monkeypatch.setattr(Judge, "__call__", stopping)
    code, _ = tuned(good_folder, tmp_path / "run", tiny_weights)
    assert code == 130
    assert not (tmp_path / "run").exists()
    kept = len(list((tmp_path / ".run.tune").glob("*.npz")))
    assert kept >= 4
    before = len(calls)
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights)
    assert code == 0, text
    fresh = Journal(tmp_path / "other", "x")
    assert fresh.folds() is None
    total = len(json.loads((tmp_path / "run" / "tune.json").read_text(encoding="utf-8"))["recipes"])
    layouts = total // (len(RULES) * len(SHARES))
    # All but those that were kept (one file is the folds), and none twice.
    assert len(calls) - before == layouts - (kept - 1)


@pytest.mark.usefixtures("no_graphs")
def test_centred_features_are_tried_where_lots_are_known(good_folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    for place, file in enumerate(sorted(good_folder.iterdir())):
        lot = tmp_path / "lots" / f"lot{place % 3}"
        lot.mkdir(parents=True, exist_ok=True)
        brighter = np.clip(cv2.imread(str(file)).astype(np.int16) + 25 * (place % 3), 0, 255)
        cv2.imwrite(str(lot / file.name), brighter.astype(np.uint8))
    tried = {}
    for data in (good_folder, tmp_path / "lots"):
        code, text = tuned(data, tmp_path / "run", tiny_weights)
        assert code == 0, text
        document = json.loads((tmp_path / "run" / "tune.json").read_text(encoding="utf-8"))
        tried[data] = {one["recipe"]["layout"]["centering"] for one in document["recipes"]}
        _, facts = load_run(tmp_path / "run")
        assert facts.centering == document["chosen"]["recipe"]["layout"]["centering"]
    assert tried == {good_folder: {0}, tmp_path / "lots": {0, 0.5, 1}}


@pytest.mark.usefixtures("no_graphs")
def test_a_precision_that_the_device_lacks_is_one_sentence(
    good_folder: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, "--precision", "bf16", "--time-limit", 0)
    assert code == 2
    assert "does not compute in bf16" in text
    assert "recipes were judged" not in text


def test_a_device_that_is_not_there_is_named_before_anything_is_judged(
    good_folder: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, "--inference-device", "NPU7", "--time-limit", 0)
    assert code == 3
    assert "NPU7" in text
    assert "recipes were judged" not in text


@pytest.mark.usefixtures("no_graphs")
def test_a_budget_that_nothing_meets_is_one_sentence(good_folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, "--budget-ms", 1e-6, "--time-limit", 0)
    assert code == 2
    assert "--budget-ms" in text
    assert "Traceback" not in text
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_graphs")
def test_labelled_defects_of_the_validation_split_count(tiny_data: Path, tiny_weights: Path, tmp_path: Path) -> None:
    import shutil

    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    shutil.copytree(tiny_data / "test/scratch", data / "validation/scratch")
    code, text = tuned(data, tmp_path / "run", tiny_weights, "--time-limit", 0)
    assert code == 0, text
    document = json.loads((tmp_path / "run" / "tune.json").read_text(encoding="utf-8"))
    assert document["labelled_images"] == 16
    one = document["default"]
    assert one["value"] != pytest.approx((one["image_auroc"] + one["located"]) / 2, abs=1e-6)


@pytest.mark.parametrize("wrong", [("--sizes", "256,large"), ("--backbones", ""), ("--backbones", "resnet18,resnet34")])
def test_options_that_cannot_be_met_are_refused_before_the_work(
    wrong: tuple[str, str], good_folder: Path, tiny_weights: Path, tmp_path: Path
) -> None:
    code, text = tuned(good_folder, tmp_path / "run", tiny_weights, *wrong)
    assert code == 2, text
    assert "Traceback" not in text


@pytest.mark.usefixtures("no_graphs")
def test_the_search_is_the_same_again(good_folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        code, text = tuned(good_folder, tmp_path / name, tiny_weights, "--time-limit", 0)
        assert code == 0, text
        document = json.loads((tmp_path / name / "tune.json").read_text(encoding="utf-8"))
        found.append([replace_costs(one) for one in document["recipes"]])
    assert found[0] == found[1]


def replace_costs(one: dict) -> dict:
    """Without what the machine decides."""
    return {**one, "costs": {}}
