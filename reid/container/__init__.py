"""Composition: which adapter each setting names, and what every command is made of."""
