"""``python -m patchcore_edge_runtime``."""

from .cli import main

main()
