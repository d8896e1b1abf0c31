"""What leaves the host: the manifest and the folder it describes."""
