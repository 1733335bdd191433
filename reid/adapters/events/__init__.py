"""Who hears of progress."""
