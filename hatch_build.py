"""The host's metadata: dependencies of one version, and a page that reads outside of the repository."""

import re
from pathlib import Path
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
    "scikit-learn>=1.6,<2",  # metrics, and scipy with it
    "timm>=1.0.15,<2",  # backbones: another version's must be the same networks
    "torch>=2.9,<3",
    "torchvision>=0.24",  # timm's
    "tqdm>=4.66.3",  # progress bars
]
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)]+)\)")


def with_absolute_links(page: str, home: str, version: str) -> str:
    """A page of the repository with the addresses that its relative links have on the web, at this version's tag."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        return f"{picture}[{text}]({home}/{'raw' if picture else 'blob'}/v{version}/{target})"

    return RELATIVE.sub(absolute, page)


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        version = metadata["version"]
        metadata["dependencies"] = [f"patchcore-edge-runtime=={version}", *DEPENDENCIES]
        page = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        text = with_absolute_links(page, metadata["urls"]["Repository"], version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
