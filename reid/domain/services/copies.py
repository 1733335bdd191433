"""Queries whose very picture is among the images that are searched: they find themselves."""

from collections import defaultdict
from collections.abc import Sequence

from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import GalleryFilter
from reid.domain.values.samples import DISTRACTOR_PID, Sample
from reid.ports.dataset import ImageReader, ImageSource


def queries_in_gallery(
    reader: ImageReader,
    queries: Sequence[Sample],
    gallery: Sequence[Sample],
    *,
    remove_same_camera: bool,
) -> tuple[str, ...]:
    """Name the queries whose content a scored gallery image has, under the same name or another.

    Images that the protocol leaves out for a query, of its own person and camera, do not count.
    """
    names = list(dict.fromkeys(sample.name for sample in (*queries, *gallery)))
    digests = dict(zip(names, reader.content_digests(names), strict=True))
    holders = defaultdict[str, set[tuple[int, int]]](set)
    for sample in gallery:
        holders[digests[sample.name]].add((sample.pid, sample.camid))
    return tuple(
        query.name
        for query in queries
        if digests[query.name]
        and query.pid != DISTRACTOR_PID
        and holders.get(digests[query.name], set())
        - ({(query.pid, query.camid)} if remove_same_camera else set())
    )


def queries_kept(
    queries: ImageSource, gallery: Gallery, *, within: GalleryFilter
) -> tuple[str, ...]:
    """Name the query images whose content a searched image of the gallery has."""
    names = [image.name for image in queries.images()]
    digests = queries.reader.content_digests(names)
    kept = gallery.images(contents=sorted({digest for digest in digests if digest}))
    known = {image.content for image in kept if within.admits(image)}
    return tuple(name for name, digest in zip(names, digests, strict=True) if digest in known)
