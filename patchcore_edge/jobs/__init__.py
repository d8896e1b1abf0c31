"""The jobs from folder to folder: train, calibrate, evaluate. The command line only parses and prints."""
