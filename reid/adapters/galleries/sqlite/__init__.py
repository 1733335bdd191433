"""Records of a gallery in SQLite."""
