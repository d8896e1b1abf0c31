"""``patchcore-edge``, and ``python -m patchcore_edge``."""

from patchcore_edge_runtime.interrupts import InterruptsEndIt

__all__ = ["main"]


def main() -> None:
    """Entry point."""
    with InterruptsEndIt():
        from .cli import main as run
    run()


if __name__ == "__main__":
    main()
