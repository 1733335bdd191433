"""Query images as vectors that compare with a gallery's.

Letters: N images, D width.
"""

from torch import Tensor

from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.services.image_lists import camids_of
from reid.domain.values.galleries import EncoderFingerprint
from reid.domain.values.samples import Split
from reid.ports.dataset import ImageSource


class QueryEmbedding:
    """Embeds query images as the images of a gallery were embedded, or refuses."""

    def __init__(self, *, embedder: Embedder, enrolment: Enrolment) -> None:
        """Keep the parts."""
        self._embedder = embedder
        self._enrolment = enrolment

    def __call__(self, queries: ImageSource, gallery: Gallery) -> Tensor:
        """Embed every image of a list.

        Returns:
            (N, D) float32 on the CPU, rows of unit L2 norm.

        Raises:
            DatasetError: An image cannot be read.
            GalleryError: The gallery is empty, or another encoder made it.
        """
        fingerprint = self._enrolment.fingerprint_matching(
            gallery, queries.images(), what="the queries"
        )
        return embed_queries(self._embedder, queries, fingerprint=fingerprint)


def embed_queries(
    embedder: Embedder, queries: ImageSource, *, fingerprint: EncoderFingerprint
) -> Tensor:
    """Embed images, with their cameras where the fingerprint uses them: (N, D)."""
    images = queries.images()
    camids = None
    if fingerprint.uses_cameras:
        camids = camids_of(images, num_cameras=embedder.num_cameras)
    names = [image.name for image in images]
    return embedder.embed(queries.reader, names, camids=camids, subset=Split.QUERY)
