"""Image files and frames: read, checked, resized; a fit uses this room too, and it loads no camera and no sink."""

from . import pixel_limit as pixel_limit  # first: OpenCV reads its limit when it is loaded
