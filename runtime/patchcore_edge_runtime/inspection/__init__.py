"""Here a pixel becomes a verdict."""
