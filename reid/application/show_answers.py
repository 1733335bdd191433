"""Show answers on a page with thumbnails."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias, TypeVar

from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptImage
from reid.domain.values.page_data import AnswersPageData, PageLimits, id_of
from reid.domain.values.reports import Identification, RankedImage
from reid.ports.dataset import ImageReader, ImageSource
from reid.ports.pages import Page

_IMAGES_AT_ONCE = 256
"""Thumbnails made before the remaining bytes are checked."""

Thumbnails: TypeAlias = Callable[[Sequence[RankedImage], int], Sequence[bytes | None]]
"""Makes JPEGs of gallery images up to a height in pixels; None where there is no image."""

_Key = TypeVar("_Key", bound=Hashable)


class ShowAnswers:
    """Makes the page of an identification."""

    def __init__(self, *, page: Page[AnswersPageData], limits: PageLimits | None = None) -> None:
        """Keep the page and its limits."""
        self._page = page
        self._limits = limits or PageLimits()

    def run(
        self,
        answers: Sequence[Identification],
        *,
        queries: ImageReader,
        gallery: Thumbnails,
        title: str,
        notes: Sequence[str] = (),
    ) -> str:
        """Write the page.

        Thumbnails are included up to the page's limit: the queries' first, then those of the best
        answers, then of the second best.

        Args:
            answers: One per query.
            queries: Reads the queries' images.
            gallery: Makes thumbnails of the answers; see `thumbnails_in`, `thumbnails_kept`.
            title: Of the page.
            notes: How the answers were found.

        Returns:
            The page's place.

        Raises:
            CheckpointError: The page cannot be written.
        """
        limits = self._limits
        shown = tuple(
            replace(answer, images=answer.images[: limits.num_images])
            for answer in answers[: limits.num_queries]
        )
        room = limits.thumbnail_bytes
        asked = list(dict.fromkeys(name for answer in shown for name in _images_of(answer)))
        of_queries, room = _filled(
            asked,
            lambda names: queries.thumbnails(names, height=limits.thumbnail_height),
            room=room,
        )
        known = {id_of(image): image for image in _by_rank(shown)}
        of_gallery, _ = _filled(
            list(known),
            lambda ids: gallery([known[one] for one in ids], limits.thumbnail_height),
            room=room,
        )
        page_data = AnswersPageData(
            title=title,
            notes=tuple(notes),
            answers=shown,
            query_thumbnails=of_queries,
            gallery_thumbnails=of_gallery,
            num_queries=len(answers),
        )
        return self._page.write(page_data)[0]


def thumbnails_in(source: ImageReader) -> Thumbnails:
    """Make thumbnails of a source's own images."""

    def make(images: Sequence[RankedImage], height: int) -> Sequence[bytes | None]:
        return source.thumbnails([image.name for image in images], height=height)

    return make


def thumbnails_kept(
    gallery: Gallery, *, open_source: Callable[[str], ImageSource | None]
) -> Thumbnails:
    """Use the thumbnails that a gallery keeps, else make them from the images' sources.

    `open_source` opens a source by its name in the gallery; None where it is gone. A file whose
    content has changed since is not shown.
    """

    def make(images: Sequence[RankedImage], height: int) -> Sequence[bytes | None]:
        keys = [image.key for image in images if image.key is not None]
        found: dict[int, bytes | None] = {key: gallery.thumbnail(key) for key in keys}
        missing = [key for key, small in found.items() if small is None]
        found |= _from_sources(gallery, missing, open_source=open_source, height=height)
        return [None if image.key is None else found[image.key] for image in images]

    return make


def _from_sources(
    gallery: Gallery,
    keys: Sequence[int],
    *,
    open_source: Callable[[str], ImageSource | None],
    height: int,
) -> Mapping[int, bytes | None]:
    """Make thumbnails of the files whose content has not changed."""
    by_source: dict[str, list[KeptImage]] = {}
    for kept in gallery.images(keys=keys) if keys else ():
        by_source.setdefault(kept.source, []).append(kept)
    found: dict[int, bytes | None] = dict.fromkeys(keys)
    for name, wanted in by_source.items():
        source = open_source(name)
        if source is not None:
            names = [kept.name for kept in wanted]
            small = source.reader.thumbnails(names, height=height)
            contents = source.reader.content_digests(names)
            for kept, one, content in zip(wanted, small, contents, strict=True):
                found[kept.key] = one if content == kept.content else None
    return found


def _images_of(answer: Identification) -> tuple[str, ...]:
    return answer.names or (answer.name,)


def _by_rank(answers: Sequence[Identification]) -> Iterable[RankedImage]:
    depth = max((len(answer.images) for answer in answers), default=0)
    for rank in range(depth):
        for answer in answers:
            yield from answer.images[rank : rank + 1]


def _filled(
    wanted: Iterable[_Key],
    make: Callable[[list[_Key]], Sequence[bytes | None]],
    *,
    room: int,
) -> tuple[dict[_Key, bytes], int]:
    """Make thumbnails until `room` bytes are used up; return them and the bytes left."""
    remaining = iter(wanted)
    made: dict[_Key, bytes] = {}
    while room > 0 and (some := list(islice(remaining, _IMAGES_AT_ONCE))):
        for one, small in zip(some, make(some), strict=True):
            room -= len(small or b"")
            if small is not None and room >= 0:
                made[one] = small
    return made, room
