"""The section of an IR that Intel's Model API reads: what kind of model it is, its thresholds and labels.

Its keys: https://github.com/open-edge-platform/model_api, AnomalyDetection.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ..errors import BundleError
from ..verdict import Thresholds
from .manifest import Labels

__all__ = ["MODEL_KIND", "model_info", "rewrite_model_info"]

MODEL_KIND = {
    "model_type": "AnomalyDetection",
    "task": "segmentation",
    "resize_type": "standard",
    # Left out, Model API would give the graph RGB.
    "reverse_input_channels": "NO",
}
"""What does not depend on thresholds and labels."""

_MODEL_INFO = re.compile(rb"<model_info>.*?</model_info>", re.DOTALL)


def model_info(thresholds: Thresholds, labels: Labels) -> dict[str, str]:
    """``rt_info/model_info`` in the keys of Intel's Model API: (raw − threshold) / scale + 0.5 is its score."""
    return {
        **MODEL_KIND,
        "image_threshold": repr(thresholds.image),
        "pixel_threshold": repr(thresholds.pixel),
        "normalization_scale": repr(2 * thresholds.image),
        # It parts them at white space.
        "labels": f"{_one_word(labels.good)} {_one_word(labels.anomalous)}",
    }


def rewrite_model_info(xml: Path, thresholds: Thresholds, labels: Labels) -> None:
    """Put thresholds and labels into an IR.

    Only that section's bytes change: to read and write the whole IR would change what was verified.

    Raises:
        BundleError: the IR has no such section.
    """
    text = xml.read_bytes()
    found = list(_MODEL_INFO.finditer(text))
    if len(found) != 1:
        raise BundleError(f"{xml.name} has no model_info to change; export the bundle again.")
    info = model_info(thresholds, labels)
    lines = "".join(f"\t\t\t<{key} value={quoteattr(info[key])} />\n" for key in sorted(info))
    section = f"<model_info>\n{lines}\t\t</model_info>".encode()
    xml.write_bytes(text[: found[0].start()] + section + text[found[0].end() :])


def _one_word(label: str) -> str:
    return "_".join(label.split()) or "_"
