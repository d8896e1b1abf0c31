"""Write the runtime's two lists of versions; run after its tests passed: ``make constraints``.

``constraints.txt``: what the tests passed with, all that the runtime and its extras bring, for ``pip install -c``.
``constraints-lowest.txt``: the lowest versions that ``pyproject.toml`` allows, which ``make test-lowest`` tests with.
"""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).resolve().parent
TESTED, LOWEST = HERE / "constraints.txt", HERE / "constraints-lowest.txt"


def direct() -> list[Requirement]:
    """What ``pyproject.toml`` asks for, extras included."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def lowest() -> str:
    """The lower bound of each requirement, as a pin."""
    lines = []
    for requirement in direct():
        (bound,) = (specifier.version for specifier in requirement.specifier if specifier.operator == ">=")
        lines.append(f"{canonicalize_name(requirement.name)}=={bound}")
    return _page("The lowest versions that pyproject.toml allows; `make test-lowest` runs the tests with them.", lines)


def tested() -> str:
    """What is installed here of the requirements and of all that they require."""
    waiting, found = direct(), dict[str, str]()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = requirement.extras or {""}
        if name in found or (requirement.marker and not any(requirement.marker.evaluate({"extra": e}) for e in extras)):
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue  # of another platform
        found[name] = installed.version
        inner = [Requirement(text) for text in installed.requires or ()]
        waiting += [one for one in inner if one.marker is None or one.marker.evaluate({"extra": ""})]
    lines = [f"{name}=={version}" for name, version in sorted(found.items())]
    return _page("What the runtime's tests passed with: pip install -c constraints.txt patchcore-edge-runtime", lines)


def _page(what: str, lines: list[str]) -> str:
    return "\n".join([f"# {what}", "# Written by runtime/write_constraints.py (make constraints).", *sorted(lines), ""])


if __name__ == "__main__":
    TESTED.write_text(tested(), encoding="utf-8")
    LOWEST.write_text(lowest(), encoding="utf-8")
