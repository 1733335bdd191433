"""Galleries that were made of plain folders and lists, and are kept for the next query."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedGallery:
    """A gallery that was made of a plain folder or list."""

    place: str
    sources: tuple[str, ...]
    """Where the images were found; empty if the gallery is empty or cannot be read."""

    num_images: int | None
    """None where the gallery cannot be read."""

    num_bytes: int
    changed_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheContent:
    """The galleries of a cache."""

    place: str
    galleries: tuple[CachedGallery, ...]

    @property
    def num_bytes(self) -> int:
        """Size of all galleries together."""
        return sum(gallery.num_bytes for gallery in self.galleries)
