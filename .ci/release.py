"""Whether this commit may be released; ``make release`` asks before it builds. Says all that is in the way."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACEHOLDER = "patchcore-edge.example"
NAMES_THE_HOME = ("pyproject.toml", "runtime/pyproject.toml", "runtime/README.md", "mkdocs.yml", "docs/numbers.md")


def obstacles(root: Path) -> list[str]:
    """What keeps the working tree at ``root`` from being released."""
    (version,) = re.findall(r'"([^"]+)"$', (root / "runtime/patchcore_edge_runtime/version.py").read_text(), flags=re.M)
    newest = next(iter(re.findall(r"^## (.*)$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)), "")
    found = []
    if not re.fullmatch(rf"{re.escape(version)} – \d{{4}}-\d\d-\d\d", newest):
        found.append(f"CHANGELOG.md begins with {newest!r}: head it with {version} and the day.")
    homeless = [name for name in NAMES_THE_HOME if PLACEHOLDER in (root / name).read_text(encoding="utf-8")]
    if homeless:
        found.append(f"{', '.join(homeless)} name https://{PLACEHOLDER}: put the repository's address there.")
    if _git(root, "status", "--porcelain"):
        found.append("The working tree has changes: commit them.")
    if _git(root, "tag", "--list", f"v{version}"):
        found.append(f"There is a tag v{version} already: raise the version.")
    return found


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit("\n".join(obstacles(ROOT)) or 0)
