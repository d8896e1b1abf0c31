"""The line PC's commands, each a function whose options are its arguments."""
