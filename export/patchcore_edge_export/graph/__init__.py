"""The model as it runs on the line PC: embedding and search as one graph."""
