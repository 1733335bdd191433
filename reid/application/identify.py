"""Say who is on a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.reports import Identification
from reid.domain.values.samples import ImageSize, Picture, Resampling, UnreadableImage
from reid.ports.dataset import PictureSource
from reid.ports.encoder import Encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationOutcome:
    """The answers, and what could not be asked."""

    encoder: EncoderDescription
    identifications: tuple[Identification, ...]
    unreadable_queries: tuple[UnreadableImage, ...]
    unreadable_gallery: tuple[UnreadableImage, ...]
    num_gallery: int
    num_labels: int
    num_judged: int
    """Queries whose own label is known and in the gallery."""

    num_correct: int
    is_exact: bool
    index_recall: float

    @property
    def accuracy(self) -> float | None:
        """Share of judged queries whose label was found; None where none could be judged."""
        return self.num_correct / self.num_judged if self.num_judged else None


class Identify:
    """Names the people on query pictures by a labelled gallery."""

    def __init__(
        self, *, encoder: Encoder, reidentification: Reidentification, top_k: int = 5
    ) -> None:
        """Keep the parts and how many pictures each answer shows."""
        self._encoder = encoder
        self._reidentification = reidentification
        self._top_k = top_k

    def run(self, queries: PictureSource, gallery: PictureSource) -> IdentificationOutcome:
        """Identify every readable query picture.

        Raises:
            DatasetError: No readable picture on one side, or gallery pictures without labels.
        """
        asked = ReadablePictures(queries, role="query")
        known = ReadablePictures(gallery, role="gallery")
        answers = self._reidentification.identify(asked, known, top_k=self._top_k)
        labels = {picture.label for picture in known.pictures()}
        judged = [answer for answer in answers if answer.true_label in labels]
        return IdentificationOutcome(
            encoder=self._encoder.description,
            identifications=answers,
            unreadable_queries=asked.unreadable,
            unreadable_gallery=known.unreadable,
            num_gallery=len(known.pictures()),
            num_labels=len(labels),
            num_judged=len(judged),
            num_correct=sum(answer.label == answer.true_label for answer in judged),
            is_exact=self._reidentification.is_exact,
            index_recall=self._reidentification.index_recall,
        )


class ReadablePictures:
    """The pictures of a source that can be decoded; the others are counted, never used."""

    def __init__(self, source: PictureSource, *, role: str) -> None:
        """Decode every picture once to find the bad ones.

        Raises:
            DatasetError: None can be decoded.
        """
        listed = source.pictures()
        self.unreadable = source.find_unreadable([picture.image for picture in listed])
        bad = {picture.image for picture in self.unreadable}
        self._source = source
        self._pictures = tuple(picture for picture in listed if picture.image not in bad)
        if not self._pictures:
            first = self.unreadable[0]
            raise DatasetError(
                f"none of the {len(listed)} {role} pictures can be read; "
                f"the first is {first.image}: {first.reason}"
            )

    def pictures(self) -> tuple[Picture, ...]:
        """List the readable pictures."""
        return self._pictures

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read as the source does."""
        return self._source.read(images, size=size, resampling=resampling)

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode as the source does."""
        return self._source.find_unreadable(images)
