"""Galleries: in memory, in files, in databases."""
