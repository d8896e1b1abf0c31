"""The host's jobs from folder to folder; the command line only parses and prints."""
