"""A gallery in one file, to be taken elsewhere."""
