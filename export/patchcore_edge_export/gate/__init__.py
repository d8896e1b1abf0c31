"""Nothing leaves that does not score as torch does."""
