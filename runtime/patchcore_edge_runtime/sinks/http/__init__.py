"""The status page, its live view, and the triggers that come by HTTP."""
