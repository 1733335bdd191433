"""Gather what pages about answers and evaluations show, with thumbnails of images."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from typing import TypeAlias, TypeVar

from reid.domain.services.gallery import Gallery
from reid.domain.values.analyses import EvaluationAnalysis
from reid.domain.values.galleries import KeptImage
from reid.domain.values.page_data import AnswersPageData, EvaluationPageData, PageLimits, id_of
from reid.domain.values.reports import EvaluationReport, Identification, RankedImage
from reid.ports.dataset import ImageReader, ImageSource

_IMAGES_AT_ONCE = 256  # thumbnails made before the remaining bytes are checked
Thumbnails: TypeAlias = Callable[[Sequence[RankedImage], int], Sequence[bytes | None]]
"""Makes JPEGs of gallery images up to a height in pixels; None where there is no image."""

_Key = TypeVar("_Key", bound=Hashable)


def answers_page_data(
    answers: Sequence[Identification],
    *,
    queries: ImageReader,
    gallery: Thumbnails,
    title: str,
    notes: Sequence[str] = (),
    limits: PageLimits | None = None,
) -> AnswersPageData:
    """Gather the content of a page of answers, with thumbnails up to the page's limit.

    The queries' thumbnails come first, then those of the best answers, then of the second best.

    There is one answer per query. `gallery` makes thumbnails of the answers; see `thumbnails_in`
    and `thumbnails_kept`. `notes` say how the answers were found.
    """
    limits = limits or PageLimits()
    height = limits.thumbnail_height
    shown = tuple(
        replace(answer, images=answer.images[: limits.num_images])
        for answer in answers[: limits.num_queries]
    )
    asked = dict.fromkeys(name for answer in shown for name in answer.names or (answer.name,))
    of_queries, room = _filled(
        asked, lambda names: queries.thumbnails(names, height=height), room=limits.thumbnail_bytes
    )
    by_rank = chain.from_iterable(zip_longest(*(answer.images for answer in shown)))
    known = {id_of(image): image for image in by_rank if image is not None}
    of_gallery, _ = _filled(
        known, lambda ids: gallery([known[one] for one in ids], height), room=room
    )
    return AnswersPageData(
        title=title,
        notes=tuple(notes),
        answers=shown,
        query_thumbnails=of_queries,
        gallery_thumbnails=of_gallery,
        num_queries=len(answers),
    )


def evaluation_page_data(
    report: EvaluationReport,
    analysis: EvaluationAnalysis,
    *,
    reader: ImageReader,
    title: str,
    notes: Sequence[str] = (),
) -> EvaluationPageData:
    """Gather the content of a page about an evaluation, with thumbnails of its hardest queries."""
    reservations: tuple[str, ...] = ()
    if report.reranking is not None or not report.is_exact:
        reservations = (
            "Camera pairs, hardest queries and histograms are of the exact ranking by cosine; the "
            "scores and the curve are not",
        )

    def thumbnails(names: Iterable[str]) -> dict[str, bytes]:
        wanted = list(dict.fromkeys(names))
        made = reader.thumbnails(wanted, height=PageLimits().thumbnail_height)
        return {name: small for name, small in zip(wanted, made, strict=True) if small is not None}

    return EvaluationPageData(
        title=title,
        notes=(*notes, *reservations),
        report=report,
        analysis=analysis,
        query_thumbnails=thumbnails(one.name for one in analysis.hardest),
        gallery_thumbnails=thumbnails(
            image.name for one in analysis.hardest for image in (*one.above, one.match)
        ),
    )


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
        found: dict[int | None, bytes | None] = {key: gallery.thumbnail(key) for key in keys}
        by_source: dict[str, list[KeptImage]] = {}
        if missing := [key for key in keys if found[key] is None]:
            for kept in gallery.images(keys=missing):
                by_source.setdefault(kept.source, []).append(kept)
        for name, wanted in by_source.items():
            if (source := open_source(name)) is not None:
                names = [kept.name for kept in wanted]
                small = source.reader.thumbnails(names, height=height)
                contents = source.reader.content_digests(names)
                for kept, one, content in zip(wanted, small, contents, strict=True):
                    found[kept.key] = one if content == kept.content else None
        return [found.get(image.key) for image in images]

    return make


def _filled(
    wanted: Iterable[_Key], make: Callable[[list[_Key]], Sequence[bytes | None]], *, room: int
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
