"""Jobs that one process does, or several that torchrun starts: what they find is written to compare."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from patchcore_edge.fit.distributed.launch import distributed
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.jobs.evaluate import evaluate_run
from patchcore_edge.jobs.train import TrainOptions, train_run
from patchcore_edge_runtime.bundle.recipe import Augmentation, AugmentOptions, PcaOptions

OPTIONS = TrainOptions(
    backbone="resnet18",
    layers=("layer2", "layer3"),
    coreset_sampling_ratio=0.1,
    num_neighbors=9,
    image_size=(64, 64),
    weights=None,
    seed=0,
    device="cpu",
)


def recipes(weights: str) -> dict[str, TrainOptions]:
    """By the folder of the data."""
    plain = replace(OPTIONS, weights=weights)
    augment = AugmentOptions(kinds=(Augmentation.BRIGHTNESS, Augmentation.SHIFT), copies=1)
    return {
        "discs": replace(plain, pca=PcaOptions(dimensions=0.99, whitening=0.5)),
        "batches": replace(plain, outliers=1, augment=augment, memory_limit=1),
        "three": plain,
    }


def run(data: Path, weights: str, out: Path, rank: int = 0) -> None:
    """Fit and calibrate on each data set, and measure where there are test images.

    Runs go to ``out``, and beside them what each process found of them.
    """
    for name, options in recipes(weights).items():
        said: list[str] = []
        facts = train_run(data / name, out / name, options, said.append)
        found: dict[str, object] = {"facts": facts.model_dump(mode="json")}
        calibration = calibrate_run(out / name, data / name, 0.1, "cpu", notify=said.append)
        found["thresholds"] = calibration.thresholds.model_dump(mode="json")
        found["calibration"] = calibration.facts.model_dump(mode="json")
        if (data / name / "test").is_dir():
            report = out / f"{name}.html"
            found["evaluation"] = evaluate_run(out / name, data / name, "cpu", report, warn=said.append).to_dict()
        found["said"] = said
        (out / f"{name}.{rank}.json").write_text(json.dumps(found))


def main() -> None:
    """As torchrun starts it: DATA WEIGHTS OUT."""
    data, weights, out = sys.argv[1:]
    with distributed("cpu") as job:
        run(Path(data), weights, Path(out), job.rank)


if __name__ == "__main__":
    main()
