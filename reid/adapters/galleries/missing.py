"""What is said of a gallery in a database that nobody has built."""

from reid.domain.errors import GalleryError


def unknown_gallery(place: str, *, name: str) -> GalleryError:
    """Say that a database holds no such gallery, and how it gets one.

    Args:
        place: Of the gallery, in words.
        name: As the command line takes it.
    """
    return GalleryError(
        f"{place} does not exist: build it by `reid gallery build {name} PICTURES`, or correct "
        "its name, gallery.tenant or the address"
    )
