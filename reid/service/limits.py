"""Limits on the resources of clients."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on the resources of clients."""

    body_bytes: int
    """Most bytes of a request's body, counted on arrival."""

    held_bytes: int
    """Most bytes of all bodies in memory."""

    images: int
    """Most images of a request."""

    pixels: int
    """Most pixels of an image."""

    waiting: int
    """Most images that wait for the encoder; more are refused."""

    connections: int
    """Most open connections."""

    header_seconds: float
    """Time for a request's header, and for silence between requests."""

    body_seconds: float
    """Time for a body to arrive."""

    seconds: float
    """Time for the answer once the body has arrived."""

    retry_seconds: int = 1
    """Time after which a refused client should retry."""
