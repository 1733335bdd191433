"""Settings, their sources, and recipes by name; imports no torch."""
