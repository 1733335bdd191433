"""The two training stages, galleries and re-identification, on ports alone."""
