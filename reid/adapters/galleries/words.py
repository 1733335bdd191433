"""What is said of galleries, wherever they are kept."""

from collections.abc import Iterator
from contextlib import contextmanager

from reid.domain.errors import GalleryError


def unknown_gallery(place: str, *, name: str) -> GalleryError:
    """Say that a database holds no such gallery, and how it gets one.

    Args:
        place: Of the gallery, in words.
        name: As the command line takes it.
    """
    return GalleryError(
        f"{place} does not exist: build it by `reid gallery build {name} IMAGES`, or correct "
        "its name, gallery.tenant or the address"
    )


@contextmanager
def after_removal() -> Iterator[None]:
    """Do what follows the removal of images; where it fails, say that they are removed.

    Raises:
        GalleryError: In place of another.
    """
    try:
        yield
    except GalleryError as error:
        raise GalleryError(
            f"{error}; the images are removed, but traces of them stay: run "
            "`reid gallery compact` afterwards"
        ) from error
