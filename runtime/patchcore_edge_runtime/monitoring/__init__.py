"""What a running line counts, and how it is read."""
