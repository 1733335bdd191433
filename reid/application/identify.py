"""Say who is on an image."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from reid.application.image_selection import split_off_unreadable
from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.query_embedding import embed_queries
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.galleries import (
    EVERYTHING,
    EncoderFingerprint,
    GalleryChanges,
    GalleryFilter,
    require_images,
)
from reid.domain.values.reports import Identification
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import ImageSource
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
    """False also where an image's camera is not one that the encoder knows."""

    is_exact: bool
    index_recall: float
    gallery: str
    """Where the known people's images are kept."""

    changes: GalleryChanges | None = None
    """What bringing the gallery up to date with a list of images took; None where it was asked as
    it is."""

    fusion: str = "best"
    """How the images of a person became one similarity."""

    threshold: float | None = None
    """Similarity below which a query is of nobody known; None: there is none."""

    is_reranked: bool = False
    looked_at: str = ""
    """Which of the gallery's images, in words; empty: all."""

    @property
    def accuracy(self) -> float | None:
        """Share of judged queries whose label was found; None where none could be judged."""
        return self.num_correct / self.num_judged if self.num_judged else None


class Identify:
    """Names the people on query images by a gallery."""

    def __init__(
        self,
        *,
        encoder: ImageEncoder,
        embedder: Embedder,
        enrolment: Enrolment,
        options: IdentificationOptions | None = None,
    ) -> None:
        """Keep the parts; None: answer in the usual manner."""
        self._encoder = encoder
        self._embedder = embedder
        self._enrolment = enrolment
        self._options = options or IdentificationOptions()

    def require_decision(self, gallery: Gallery) -> None:
        """Refuse a gallery whose threshold is one of another manner of asking.

        Raises:
            GalleryError: It is calibrated for another fusion, and its threshold is asked for.
        """
        self._options.decision_for(gallery)

    def run(
        self, queries: ImageSource, gallery: Gallery, *, within: GalleryFilter = EVERYTHING
    ) -> IdentificationOutcome:
        """Identify every readable query image by a gallery as it is.

        Args:
            queries: Images of the people to name.
            gallery: Known people.
            within: Which of its images to look at, of those that the settings leave in.

        Raises:
            DatasetError: No readable query.
            GalleryError: It is empty, or another encoder made it.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        fingerprint = self._enrolment.fingerprint_matching(
            gallery, asked.images(), what="the queries"
        )
        options = replace(self._options, within=self._options.within.narrowed(within))
        return self._answer(
            asked, unreadable, options=options, gallery=gallery, fingerprint=fingerprint
        )

    def run_among(
        self,
        queries: ImageSource,
        known: ImageSource,
        *,
        open_gallery: Callable[[EncoderFingerprint], Gallery],
    ) -> IdentificationOutcome:
        """Identify every readable query image by labelled images.

        Args:
            queries: Images of the people to name.
            known: Labelled images.
            open_gallery: Opens the gallery in which their vectors are kept, empty or as an earlier
                run left it; closed at the end.

        Raises:
            DatasetError: No readable image on one side, or gallery images without labels.
            GalleryError: The gallery cannot be written.
        """
        asked, unreadable = split_off_unreadable(queries, role="query")
        fingerprint = self._enrolment.fingerprint_for(asked.images(), known.images())
        with closing(open_gallery(fingerprint)) as gallery:
            changes = self._enrolment.enroll(gallery, known, mirrors=True, fingerprint=fingerprint)
            return self._answer(
                asked,
                unreadable,
                options=self._options,
                gallery=gallery,
                fingerprint=fingerprint,
                changes=changes,
            )

    def _answer(
        self,
        asked: ImageSource,
        unreadable: tuple[UnreadableImage, ...],
        *,
        options: IdentificationOptions,
        gallery: Gallery,
        fingerprint: EncoderFingerprint,
        changes: GalleryChanges | None = None,
    ) -> IdentificationOutcome:
        # Before images are embedded, which takes long.
        require_images(gallery.describe(), place=gallery.place)
        decision = options.decision_for(gallery)
        vectors = embed_queries(self._embedder, asked, fingerprint=fingerprint)
        answers = options.answer(gallery, asked.images(), vectors, decision=decision)
        judged = _judged(answers, gallery=gallery, within=options.within)
        content, is_exact = gallery.describe(), gallery.is_exact
        return IdentificationOutcome(
            encoder=self._encoder.description,
            identifications=answers,
            unreadable_queries=unreadable,
            unreadable_gallery=() if changes is None else changes.unreadable,
            num_gallery=content.num_images,
            num_judged=len(judged),
            num_correct=sum(
                answer.label == answer.true_label and not answer.is_unknown for answer in judged
            ),
            are_cameras_used=fingerprint.uses_cameras,
            is_exact=is_exact,
            index_recall=1.0 if is_exact else gallery.recall,
            gallery=gallery.place,
            changes=changes,
            fusion=options.fusion,
            threshold=decision.threshold,
            is_reranked=options.reranking is not None,
            looked_at=options.within.words(),
        )


def _judged(
    answers: Sequence[Identification], *, gallery: Gallery, within: GalleryFilter
) -> list[Identification]:
    """Choose the answers for people whom the images that were looked at show."""
    asked = {answer.true_label for answer in answers if answer.true_label is not None}
    known = {image.label for answer in answers for image in answer.images}
    if others := asked - known:
        images = gallery.images(labels=sorted(others))
        known |= {image.label for image in images if within.admits(image)}
    return [answer for answer in answers if answer.true_label in known]
