"""The host's jobs from folder to folder; the command line only parses and prints."""

from .calibrate import calibrate_run

__all__ = ["calibrate_run"]
