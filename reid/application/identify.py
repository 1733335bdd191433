"""Say who is on a picture."""

from dataclasses import dataclass

from reid.application.picture_selection import split_off_unreadable
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.reports import Identification
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import PictureSource
from reid.ports.encoder import ImageEncoder


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
    are_cameras_used: bool
    """False also where a picture's camera is not one that the encoder knows."""

    is_exact: bool
    index_recall: float

    @property
    def accuracy(self) -> float | None:
        """Share of judged queries whose label was found; None where none could be judged."""
        return self.num_correct / self.num_judged if self.num_judged else None


class Identify:
    """Names the people on query pictures by a labelled gallery."""

    def __init__(
        self, *, encoder: ImageEncoder, reidentification: Reidentification, top_k: int = 5
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
        asked, unreadable_queries = split_off_unreadable(queries, role="query")
        known, unreadable_gallery = split_off_unreadable(gallery, role="gallery")
        answers = self._reidentification.identify(asked, known, top_k=self._top_k)
        labels = {picture.label for picture in known.pictures()}
        judged = [answer for answer in answers if answer.true_label in labels]
        return IdentificationOutcome(
            encoder=self._encoder.description,
            identifications=answers,
            unreadable_queries=unreadable_queries,
            unreadable_gallery=unreadable_gallery,
            num_gallery=len(known.pictures()),
            num_labels=len(labels),
            num_judged=len(judged),
            num_correct=sum(answer.label == answer.true_label for answer in judged),
            are_cameras_used=self._reidentification.uses_cameras_of(
                asked.pictures(), known.pictures()
            ),
            is_exact=self._reidentification.is_exact,
            index_recall=self._reidentification.index_recall,
        )
