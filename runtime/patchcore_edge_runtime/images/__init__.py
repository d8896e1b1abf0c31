"""Image files and frames: read, checked, resized; a fit uses this room too, and it loads no camera and no sink."""
