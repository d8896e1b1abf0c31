"""``make demo``: the main job on real solar cells, from images to an inspected video."""
