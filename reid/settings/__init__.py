"""What can be set, where it comes from, and recipes by name; imports no torch."""
