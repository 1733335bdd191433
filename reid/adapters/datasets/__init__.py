"""Pictures on disk and the lists of them."""
