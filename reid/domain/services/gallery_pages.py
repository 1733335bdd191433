"""Read galleries in parts, so that no more of a large one is in memory than a part."""

from collections.abc import Iterator

from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptPicture

_PAGE_SIZE = 8192
"""Pictures; with 1280-d vectors beside them, 40 MiB."""


def each_page(gallery: Gallery) -> Iterator[tuple[KeptPicture, ...]]:
    """Give all pictures by ascending key, a page of them at a time."""
    after = 0
    while page := gallery.page(after=after, limit=_PAGE_SIZE):
        yield page
        after = page[-1].key


def each_picture(gallery: Gallery) -> Iterator[KeptPicture]:
    """Give all pictures by ascending key, one by one."""
    for page in each_page(gallery):
        yield from page
