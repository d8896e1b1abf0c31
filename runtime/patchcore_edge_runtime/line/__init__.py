"""A line from its configuration to its last frame."""
