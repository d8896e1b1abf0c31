"""``python -m patchcore_edge``."""

from .cli import main

main()
