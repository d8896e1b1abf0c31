"""RUN folders: a fitted model and its calibration."""
