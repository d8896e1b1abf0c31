"""Pages: one self-contained file each, whole or not at all."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from patchcore_edge_runtime.atomic_folder import replace_text
from patchcore_edge_runtime.errors import cannot_write
from patchcore_edge_runtime.images.files import encode_image
from patchcore_edge_runtime.images.preprocess import Image
from patchcore_edge_runtime.path_text import encodable

__all__ = ["jpeg", "write_page", "write_text"]


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a template of this room, filled in; whole or not at all.

    Raises:
        ConfigError: it cannot be written.
    """
    # Not select_autoescape: it goes by the suffix, and .j2 is none that it escapes.
    environment = Environment(loader=PackageLoader("patchcore_edge.reporting"), autoescape=True)
    environment.filters["share"] = _share
    write_text(path, environment.get_template(template).render(**values))


def _share(value: float | None) -> str:
    """A share in per cent, with as many digits as anyone would act on."""
    if value is None:
        return "–"
    return f"{value:.2%}" if 0 < value < 0.01 else f"{value:.1%}"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all; names in it that are no UTF-8 as ``path_text`` has them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, encodable(text))
    except OSError as error:
        raise cannot_write(path, error) from None


def jpeg(picture: Image) -> str:
    """HxWx3 uint8 BGR as JPEG in base64, for a page."""
    return base64.b64encode(encode_image(picture, ".jpg")).decode()
