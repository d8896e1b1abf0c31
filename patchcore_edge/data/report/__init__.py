"""The data report: what is there, what is left out, guessed or changed, and what is doubtful, before any work."""

from .report import DataReport, report_data

__all__ = ["DataReport", "report_data"]
