"""The recipe found for the part: recipes judged on good images that no bank has seen, against synthetic defects."""
