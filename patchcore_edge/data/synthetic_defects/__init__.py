"""Realistic defects made on pictures of good parts, for where nobody has real ones.

They weigh what has to tell defects from good parts: search plans, quantizations, thresholds' trade-off. A promised
false-reject rate never comes from them. ``docs/synthetic-defects.md`` shows them.
"""

from .make import KINDS, SyntheticDefect, make_defects, synthetic_defects

__all__ = ["KINDS", "SyntheticDefect", "make_defects", "synthetic_defects"]
