"""Query pictures as vectors that compare with a gallery's.

Letters: N pictures, D width.
"""

from torch import Tensor

from reid.domain.services.embedding import Embedder
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_filling import GalleryFilling
from reid.domain.services.picture_lists import camids_of
from reid.domain.values.galleries import EncoderStamp
from reid.domain.values.samples import Split
from reid.ports.dataset import PictureSource


class QueryEmbedding:
    """Describes query pictures as the pictures of a gallery were described, or refuses."""

    def __init__(self, *, embedder: Embedder, filling: GalleryFilling) -> None:
        """Keep the parts."""
        self._embedder = embedder
        self._filling = filling

    def __call__(self, queries: PictureSource, gallery: Gallery) -> Tensor:
        """Embed every picture of a list.

        Returns:
            (N, D) float32 on the CPU, rows of unit L2 norm.

        Raises:
            DatasetError: A picture cannot be read.
            GalleryError: The gallery is empty, or another encoder made it.
        """
        stamp = self._filling.stamp_matching(gallery, queries.pictures(), what="the queries")
        return embed_queries(self._embedder, queries, stamp=stamp)


def embed_queries(embedder: Embedder, queries: PictureSource, *, stamp: EncoderStamp) -> Tensor:
    """Embed pictures, told their cameras where the stamp says so: (N, D)."""
    pictures = queries.pictures()
    camids = None
    if stamp.uses_cameras:
        camids = camids_of(pictures, num_cameras=embedder.num_cameras)
    images = [picture.image for picture in pictures]
    return embedder.embed(queries.reader, images, camids=camids, subset=Split.QUERY)
