"""Write the JSON Schemas of a bundle's manifest and of a line's file, for other languages and for editors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from patchcore_edge_runtime.bundle.manifest import manifest_schema
from patchcore_edge_runtime.line.schema import SCHEMA_FILE, line_schema

FILES = {"manifest.schema.json": manifest_schema, SCHEMA_FILE: line_schema}


def document(schema: dict[str, Any]) -> str:
    """The schema as text."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, make in FILES.items():
        Path(__file__).with_name(name).write_text(document(make()), encoding="utf-8")
