"""Exports from the library: ``Engine.export`` calls this through an entry point."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from patchcore_edge.data import DataModule
from patchcore_edge.jobs.calibrate import calibrate_run
from patchcore_edge.models import Patchcore
from patchcore_edge.runs.fitted import save_fitted
from patchcore_edge_runtime.bundle.manifest import Manifest

from .build import GraphOptions
from .bundle import export_bundle, verify_bundle

__all__ = ["GraphOptions", "export_bundle", "export_model", "verify_bundle"]


def export_model(
    model: Patchcore,
    datamodule: DataModule,
    output: Path,
    options: GraphOptions | None = None,
    *,
    target_fpr: float | None = None,
    device: str = "cpu",
    strict: bool = False,
) -> Manifest:
    """Calibrate a fitted model and export it to an OpenVINO bundle, behind the gate that compares it with torch.

    Args:
        model: fitted on ``datamodule.train``.
        datamodule: its validation images set the thresholds and pass the gate; without any, its training images do,
            cross-fitted.
        output: bundle folder to write; it names the model.
        options: precision, search and formats; float32 and exact when absent.
        target_fpr: share of good parts that may be called NG, in (0, 1); see ``calibrate_on_scores`` for None.
        device: torch's, to calibrate on.
        strict: make an image that cannot be read an error.

    Raises:
        DataError: an image that the model was fitted on is among those to calibrate with.
        ParityError: the graph does not score as the model does; nothing is written.
    """
    with TemporaryDirectory() as temporary:
        run = Path(temporary) / output.resolve().name
        save_fitted(run, model, datamodule)
        calibrate_run(run, datamodule, target_fpr, device, strict=strict)
        return export_bundle(run, output, options or GraphOptions())
