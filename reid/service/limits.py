"""Limits on what a client may cost, as plain numbers."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on what a client may cost."""

    body_bytes: int
    """Most bytes of a request's body, counted while they come."""

    held_bytes: int
    """Most bytes of all bodies together that are in memory at once."""

    images: int
    """Most images of a request."""

    pixels: int
    """Most pixels of an image."""

    waiting: int
    """Most images that wait for the encoder; more are sent away."""

    connections: int
    """Most open connections."""

    header_seconds: float
    """How long a client may take to say what it wants, and to stay silent between requests."""

    body_seconds: float
    """How long a body may take to arrive."""

    seconds: float
    """How long a client waits for its answer once its body has arrived."""

    retry_seconds: int = 1
    """After how long a client that was sent away shall come back."""
