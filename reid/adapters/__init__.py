"""Implementations of the ports, with libraries, files and screens."""
