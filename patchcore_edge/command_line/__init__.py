"""The host's commands, each a function whose options are its arguments."""
