"""What a person sees of a result: overlay, panel, window."""
