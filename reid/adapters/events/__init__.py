"""Receivers of progress events."""
