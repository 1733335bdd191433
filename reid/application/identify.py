"""Say who is on a picture."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from reid.application.picture_selection import split_off_unreadable
from reid.domain.services.answering import Answering
from reid.domain.services.embedding import Embedder
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_filling import GalleryFilling
from reid.domain.services.query_embedding import embed_queries
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.galleries import (
    EVERYTHING,
    EncoderStamp,
    GalleryChanges,
    GalleryFilter,
    require_pictures,
)
from reid.domain.values.reports import Identification
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import PictureSource
from reid.domain.services.gallery import Gallery
from reid.ports.image_encoder import ImageEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationOutcome:
    """The answers, and what could not be asked."""

    encoder: EncoderDescription
    identifications: tuple[Identification, ...]
    unreadable_queries: tuple[UnreadableImage, ...]
    unreadable_gallery: tuple[UnreadableImage, ...]
    num_gallery: int
    num_judged: int
    """Queries whose own label is known and in the gallery."""

    num_correct: int
    """Of these, those whose answer is right and not called unknown."""

    are_cameras_used: bool
    """False also where a picture's camera is not one that the encoder knows."""

    is_exact: bool
    index_recall: float
    gallery: str
    """Where the known people's pictures are kept."""

    changes: GalleryChanges | None = None
    """What bringing the gallery up to date with a list of pictures took; None where it was asked
    as it is."""

    fusion: str = "best"
    """How the pictures of a person became one similarity."""

    threshold: float | None = None
    """Similarity below which a query is of nobody known; None: there is none."""

    is_reranked: bool = False
    looked_at: str = ""
    """Which of the gallery's pictures, in words; empty: all."""

    @property
    def accuracy(self) -> float | None:
        """Share of judged queries whose label was found; None where none could be judged."""
        return self.num_correct / self.num_judged if self.num_judged else None


class Identify:
    """Names the people on query pictures by a gallery."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        embedder: Embedder,
        filling: GalleryFilling,
        answering: Answering | None = None,
    ) -> None:
        """Keep the parts; None: answer in the usual manner."""
        self._encoder = encoder
        self._embedder = embedder
        self._filling = filling
        self._answering = answering or Answering()

    def require_decision(self, gallery: Gallery) -> None:
        """Refuse a gallery whose threshold is one of another manner of asking.

        Raises:
            GalleryError: It is calibrated for another fusion, and its threshold is asked for.
        """
        self._answering.decision_for(gallery)

    def run(
        self, queries: PictureSource, gallery: Gallery, *, within: GalleryFilter = EVERYTHING
    ) -> IdentificationOutcome:
        """Identify every readable query picture by a gallery as it is.

        Args:
            queries: Pictures of the people to name.
            gallery: Known people.
            within: Which of its pictures to look at, of those that the settings leave in.

        Raises:
            DatasetError: No readable query.
            GalleryError: It is empty, or another encoder made it.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        stamp = self._filling.stamp_matching(gallery, asked.pictures(), what="the queries")
        answering = replace(self._answering, within=self._answering.within.narrowed(within))
        return self._answer(asked, unreadable, answering=answering, gallery=gallery, stamp=stamp)

    def run_among(
        self,
        queries: PictureSource,
        known: PictureSource,
        *,
        open_gallery: Callable[[EncoderStamp], Gallery],
    ) -> IdentificationOutcome:
        """Identify every readable query picture by labelled pictures.

        Args:
            queries: Pictures of the people to name.
            known: Labelled pictures.
            open_gallery: Opens the gallery in which their vectors are kept, empty or as an earlier
                run left it; closed at the end.

        Raises:
            DatasetError: No readable picture on one side, or gallery pictures without labels.
            GalleryError: The gallery cannot be written.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        stamp = self._filling.stamp_for(asked.pictures(), known.pictures())
        with closing(open_gallery(stamp)) as gallery:
            changes = self._filling.fill(gallery, known, mirrors=True, stamp=stamp)
            return self._answer(
                asked,
                unreadable,
                answering=self._answering,
                gallery=gallery,
                stamp=stamp,
                changes=changes,
            )

    def _answer(
        self,
        asked: PictureSource,
        unreadable: tuple[UnreadableImage, ...],
        *,
        answering: Answering,
        gallery: Gallery,
        stamp: EncoderStamp,
        changes: GalleryChanges | None = None,
    ) -> IdentificationOutcome:
        # Before pictures are embedded, which takes long.
        require_pictures(gallery.describe(), place=gallery.place)
        decision = answering.decision_for(gallery)
        vectors = embed_queries(self._embedder, asked, stamp=stamp)
        answers = answering.answer(gallery, asked.pictures(), vectors, decision=decision)
        judged = _judged(answers, gallery=gallery, within=answering.within)
        content, is_exact = gallery.describe(), gallery.is_exact
        return IdentificationOutcome(
            encoder=self._encoder.description,
            identifications=answers,
            unreadable_queries=unreadable,
            unreadable_gallery=() if changes is None else changes.unreadable,
            num_gallery=content.num_pictures,
            num_judged=len(judged),
            num_correct=sum(
                answer.label == answer.true_label and not answer.is_unknown for answer in judged
            ),
            are_cameras_used=stamp.uses_cameras,
            is_exact=is_exact,
            index_recall=1.0 if is_exact else gallery.recall,
            gallery=gallery.place,
            changes=changes,
            fusion=answering.fusion,
            threshold=decision.threshold,
            is_reranked=answering.reranking is not None,
            looked_at=answering.within.words(),
        )


def _judged(
    answers: Sequence[Identification], *, gallery: Gallery, within: GalleryFilter
) -> list[Identification]:
    """Choose the answers for people whom the pictures that were looked at show."""
    asked = {answer.true_label for answer in answers if answer.true_label is not None}
    known = {picture.label for answer in answers for picture in answer.pictures}
    if others := asked - known:
        pictures = gallery.pictures(labels=sorted(others))
        known |= {picture.label for picture in pictures if within.admits(picture)}
    return [answer for answer in answers if answer.true_label in known]
