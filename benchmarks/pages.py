"""Pages of ``docs/`` that a benchmark writes: what they end with is written by hand and stays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["DOCS", "write_page"]

DOCS = Path(__file__).resolve().parents[1] / "docs"
_MEANING = "\n## What it means\n"


def write_page(name: str, parts: Sequence[str], folder: Path = DOCS) -> None:
    """Write ``<folder>/<name>``, its parts a line apart, and keep what follows "What it means"."""
    page = folder / name
    foot = page.read_text(encoding="utf-8").partition(_MEANING)[2] if page.is_file() else ""
    page.write_text("\n".join(parts) + _MEANING + foot, encoding="utf-8")
