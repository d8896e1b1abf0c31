"""The host's dependencies; they pin the runtime to the version both distributions are built with."""

from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

DEPENDENCIES = [
    "filelock>=3.20.1",  # one fit at a time into a folder
    "ImageHash>=4.3",  # copies that were saved again, brightened or shot with noise
    "jinja2>=3.1.6",  # report.html
    "matplotlib>=3.9",  # plots in the report
    "pillow>=11",  # headers of image files without their pixels; palettes and transparency of masks
    "psutil>=7",  # free memory on every platform, before a fit
    "safetensors>=0.5",  # checkpoints without pickle
    "scikit-learn>=1.6",  # metrics, and scipy with it
    "timm>=1.0.15",  # backbones
    "torch>=2.9",
    "torchvision>=0.24",  # timm's
    "tqdm>=4.66.3",  # progress bars
]


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        metadata["dependencies"] = [f"patchcore-edge-runtime=={metadata['version']}", *DEPENDENCIES]
