"""The words by which a page says what it was measured on."""

from __future__ import annotations

import os

import openvino as ov

from patchcore_edge_runtime.bundle.manifest import Manifest

__all__ = ["machine_and_model"]


def machine_and_model(manifest: Manifest) -> dict[str, object]:
    """This machine and a bundle's model, for the fields of a page's head."""
    height, width = manifest.preprocess.input_size
    return {
        "cpu": ov.Core().get_property("CPU", "FULL_DEVICE_NAME"),
        "cores": os.cpu_count(),
        "openvino": ov.__version__.split("-")[0],
        "model": manifest.model_id,
        "backbone": manifest.model.backbone,
        "height": height,
        "width": width,
        "bank": manifest.model.bank_size,
        "batch": manifest.batch,
        "precision": manifest.precision,
    }
