"""Queries to a gallery: images of one person who is to be named.

Letters: Q queries, N images, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor

from reid.domain.ranking.fusion import mean_directions
from reid.domain.services.embedding import Embedder
from reid.domain.services.lists import camids_of
from reid.domain.values.galleries import EncoderFingerprint, KeptImage
from reid.domain.values.samples import ListedImage, Split
from reid.ports.dataset import ImageSource

SAME_IMAGE = 1 - 1e-5  # vectors of at least this cosine count as those of the very same image


class OwnImages(Enum):
    """Which gallery images of the query's own person may answer it."""

    ALL = auto()
    OTHER_CAMERAS = auto()
    """Neither those by the query's own camera, as in evaluation, nor the very same image."""

    NONE = auto()  # as if the person were unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Images of one person who is to be named."""

    images: tuple[ListedImage, ...]  # at least one
    own: OwnImages = OwnImages.ALL

    @property
    def label(self) -> str | None:
        """The person's own label, where known."""
        return self.images[0].label

    def hides(self, image: KeptImage, *, similarity: float) -> bool:
        """Whether a gallery image of a cosine is excluded from the answers to this query."""
        if self.own is OwnImages.ALL or image.label != self.label:
            return False
        if self.own is OwnImages.NONE or similarity >= SAME_IMAGE:
            return True
        return image.camera is not None and image.camera in {p.camera for p in self.images}


def queries_of(images: Sequence[ListedImage], *, are_tracklets: bool = False) -> tuple[Query, ...]:
    """Make every image a query of its own; or those of a person one, in the order of first images.

    Images of a tracklet lie in one sub-folder. Other images are grouped by label and camera, since
    the cameras of a person may show different sides; an image without a label stands alone.
    """
    if not are_tracklets:
        return tuple(Query(images=(image,)) for image in images)
    groups: dict[tuple[str | None, ...], list[ListedImage]] = {}
    for image in images:
        folder = image.name.rpartition("/")[0]
        key = (folder,) if folder else ("", image.label, image.camera)
        alone = ("", None, None, image.name)
        groups.setdefault(alone if key[:2] == ("", None) else key, []).append(image)
    return tuple(Query(images=tuple(group)) for group in groups.values())


def embed_queries(
    embedder: Embedder, queries: ImageSource, *, fingerprint: EncoderFingerprint
) -> Tensor:
    """Embed images, with their cameras where the fingerprint uses them.

    Returns:
        (N, D) float32 on the CPU, rows of unit L2 norm.

    Raises:
        DatasetError: An image cannot be read.
    """
    images = queries.images()
    num_cameras = embedder.num_cameras if fingerprint.uses_cameras else 0
    camids = camids_of(images, num_cameras=num_cameras)
    names = [image.name for image in images]
    return embedder.embed(queries.reader, names, camids=camids, subset=Split.QUERY)


def vectors_of_queries(
    queries: Sequence[Query], images: Sequence[ListedImage], vectors: Tensor
) -> Tensor:
    """Fuse the (N, D) vectors of queries, which hold each image once; see `mean_directions`.

    Returns:
        (Q, D) float32, rows of unit L2 norm; those of single images as they were.
    """
    rows = {image.name: row for row, image in enumerate(images)}
    if all(len(query.images) == 1 for query in queries):
        return vectors[[rows[query.images[0].name] for query in queries]]
    groups = torch.empty(len(images), dtype=torch.int64)
    for number, query in enumerate(queries):
        groups[[rows[image.name] for image in query.images]] = number
    return mean_directions(vectors, groups, num_groups=len(queries))
