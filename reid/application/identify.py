"""Identify the people in images."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from reid.domain.services.copies import queries_kept
from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.identifier import Identifier
from reid.domain.services.lists import split_off_unreadable
from reid.domain.services.queries import embed_queries, queries_of, vectors_of_queries
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.galleries import (
    EVERYTHING,
    EncoderFingerprint,
    GalleryChanges,
    GalleryFilter,
    require_images,
)
from reid.domain.values.models import KnownModel
from reid.domain.values.reports import Identification
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import ImageSource
from reid.ports.image_encoder import ImageEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentificationOutcome:
    """The answers, and the images left out."""

    encoder: EncoderDescription
    identifications: tuple[Identification, ...]
    unreadable_queries: tuple[UnreadableImage, ...]
    unreadable_gallery: tuple[UnreadableImage, ...]
    num_gallery: int
    num_judged: int  # queries whose own label is known and in the gallery
    num_correct: int  # judged queries whose answer is right and not rejected as unknown
    are_cameras_used: bool  # False also where the encoder does not know the camera of an image
    is_exact: bool
    index_recall: float
    gallery: str  # where the known people's images are kept
    changes: GalleryChanges | None = None
    """How the gallery was brought up to date with a list of images; None where it was not."""
    fusion: str = "best"
    threshold: float | None = None  # matches of a lower similarity were rejected; None: no match
    is_reranked: bool = False
    queries_in_gallery: tuple[str, ...] = ()
    """Query images whose very content is among the searched images: they find themselves."""
    model: KnownModel | None = None
    """The encoder as the catalogue of models knows it; None where it does not."""
    looked_at: str = ""  # which of the gallery's images were searched; empty: all

    @property
    def accuracy(self) -> float | None:
        """Share of judged queries whose label was found; None where none could be judged."""
        return self.num_correct / self.num_judged if self.num_judged else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify:
    """Names the people in query images by a gallery."""

    encoder: ImageEncoder
    embedder: Embedder
    enrolment: Enrolment
    options: IdentificationOptions = field(default_factory=IdentificationOptions)
    model: KnownModel | None = None
    """What the catalogue of models knows of the encoder."""

    def require_decision(self, gallery: Gallery) -> None:
        """Raise a GalleryError if the gallery's threshold is wanted but is for another fusion."""
        self.options.decide(gallery.describe().calibrations, place=gallery.place)

    def run(
        self, queries: ImageSource, gallery: Gallery, *, within: GalleryFilter = EVERYTHING
    ) -> IdentificationOutcome:
        """Identify every readable query image by a gallery as it is.

        `within` narrows further which of its images are searched.

        Raises:
            DatasetError: No readable query.
            GalleryError: It is empty, or another encoder made it.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        fingerprint = self.enrolment.fingerprint_matching(
            gallery, asked.images(), what="the queries"
        )
        options = replace(self.options, within=self.options.within.narrowed(within))
        outcome = self._answer(asked, gallery, fingerprint, options=options)
        return replace(outcome, unreadable_queries=unreadable)

    def run_without_people(self, queries: ImageSource, *, place: str) -> IdentificationOutcome:
        """Answer that every readable query is unknown, since a gallery at `place` has no image yet.

        Raises:
            DatasetError: No readable query.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        answers = (
            Identification(
                name=query.images[0].name,
                label=None,
                similarity=None,
                runner_up_label=None,
                runner_up_similarity=None,
                images=(),
                true_label=query.label,
                names=tuple(one.name for one in query.images) if len(query.images) > 1 else (),
                camera=query.images[0].camera,
                is_unknown=True,
            )
            for query in queries_of(asked.images(), are_tracklets=self.options.are_tracklets)
        )
        return IdentificationOutcome(
            encoder=self.encoder.description,
            identifications=tuple(answers),
            unreadable_queries=unreadable,
            unreadable_gallery=(),
            num_gallery=0,
            num_judged=0,
            num_correct=0,
            are_cameras_used=False,
            is_exact=True,
            index_recall=1.0,
            gallery=place,
            fusion=self.options.fusion,
        )

    def run_among(
        self,
        queries: ImageSource,
        known: ImageSource,
        *,
        open_gallery: Callable[[EncoderFingerprint], Gallery],
    ) -> IdentificationOutcome:
        """Identify every readable query image by labelled images.

        `open_gallery` opens the gallery that keeps the vectors of the `known`, empty or as an
        earlier run left it; it is closed at the end.

        Raises:
            DatasetError: No readable image on one side, or gallery images without labels.
            GalleryError: The gallery cannot be written.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        fingerprint = self.enrolment.fingerprint_for(asked.images(), known.images())
        with closing(open_gallery(fingerprint)) as gallery:
            changes = self.enrolment.enroll(gallery, known, mirrors=True, fingerprint=fingerprint)
            outcome = self._answer(asked, gallery, fingerprint, options=self.options)
        return replace(
            outcome,
            unreadable_queries=unreadable,
            unreadable_gallery=changes.unreadable,
            changes=changes,
        )

    def _answer(
        self,
        asked: ImageSource,
        gallery: Gallery,
        fingerprint: EncoderFingerprint,
        *,
        options: IdentificationOptions,
    ) -> IdentificationOutcome:
        content = gallery.describe()
        # Before images are embedded, which takes long.
        require_images(content, place=gallery.place)
        decision = options.decide(content.calibrations, place=gallery.place)
        vectors = embed_queries(self.embedder, asked, fingerprint=fingerprint)
        queries = queries_of(asked.images(), are_tracklets=options.are_tracklets)
        answers = Identifier(gallery, options, decision).identify(
            queries, vectors_of_queries(queries, asked.images(), vectors)
        )
        judged = _judged(answers, gallery=gallery, within=options.within)
        is_exact = gallery.is_exact
        return IdentificationOutcome(
            encoder=self.encoder.description,
            model=self.model,
            identifications=answers,
            unreadable_queries=(),
            unreadable_gallery=(),
            num_gallery=gallery.describe().num_images,
            num_judged=len(judged),
            num_correct=sum(
                answer.label == answer.true_label and not answer.is_unknown for answer in judged
            ),
            are_cameras_used=fingerprint.uses_cameras,
            is_exact=is_exact,
            index_recall=1.0 if is_exact else gallery.recall,
            gallery=gallery.place,
            fusion=options.fusion,
            threshold=decision.threshold,
            is_reranked=options.reranking is not None,
            queries_in_gallery=queries_kept(asked, gallery, within=options.within),
            looked_at=options.within.words(),
        )


def _judged(
    answers: Sequence[Identification], *, gallery: Gallery, within: GalleryFilter
) -> list[Identification]:
    """Choose the answers to queries whose person is among the searched images."""
    asked = {answer.true_label for answer in answers if answer.true_label is not None}
    known = {image.label for answer in answers for image in answer.images}
    if others := asked - known:
        images = gallery.images(labels=sorted(others))
        known |= {image.label for image in images if within.admits(image)}
    return [answer for answer in answers if answer.true_label in known]
