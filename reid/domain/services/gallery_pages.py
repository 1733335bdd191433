"""Read galleries in parts, so that only a part of a large one is in memory."""

from collections.abc import Iterator

from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptImage

_PAGE_SIZE = 8192
"""Images; with 1280-d vectors beside them, 40 MiB."""


def each_page(gallery: Gallery) -> Iterator[tuple[KeptImage, ...]]:
    """Yield all images by ascending key, page by page."""
    after = 0
    while page := gallery.page(after=after, limit=_PAGE_SIZE):
        yield page
        after = page[-1].key


def each_image(gallery: Gallery) -> Iterator[KeptImage]:
    """Yield all images by ascending key, one by one."""
    for page in each_page(gallery):
        yield from page
