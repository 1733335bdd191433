"""The two training stages and re-identification, knowing nothing but ports."""
