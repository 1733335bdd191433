"""Drawn people, for trying things out without real ones."""
