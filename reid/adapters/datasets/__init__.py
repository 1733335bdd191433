"""Lists of samples, one file per layout."""
