"""Write ``docs/manifest.schema.json``: what a bundle's manifest may hold, for other languages and editors."""

from __future__ import annotations

import json
from pathlib import Path

from patchcore_edge_runtime.bundle.manifest import manifest_schema


def document() -> str:
    """The schema as text."""
    return json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("manifest.schema.json").write_text(document(), encoding="utf-8")
