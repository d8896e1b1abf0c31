"""Where RUN folders were read before they had a room of their own; this name stays importable."""

from .runs.checkpoint import load_calibration, load_run, save_calibration, save_run

__all__ = ["load_calibration", "load_run", "save_calibration", "save_run"]
