"""Numbers over the scores of many images."""
