"""A gallery in a folder of files."""
