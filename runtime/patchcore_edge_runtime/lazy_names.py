"""A package's names that are loaded when they are asked for."""

from __future__ import annotations

import sys
from importlib import import_module

# Not from typing: this is loaded before a command listens to Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazily"]


def lazily(package: str, places: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The ``__getattr__`` and ``__dir__`` of a package (PEP 562).

    Args:
        package: its name, while it is imported.
        places: of each name the module below the package that has it.
    """
    names = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        names[name] = getattr(import_module(f".{places[name]}", package), name)
        return names[name]

    return find, lambda: sorted({*names, *places})
