"""The one place for the version of both distributions; hatchling reads it when it builds either of them."""

__version__ = "0.2.0"
