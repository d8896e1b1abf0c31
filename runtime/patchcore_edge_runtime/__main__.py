"""``patchcore-edge-runtime``, and ``python -m patchcore_edge_runtime``."""

from .interrupts import interrupts_end_it

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    with interrupts_end_it():
        from .cli import main as run
    run()


if __name__ == "__main__":
    main()
