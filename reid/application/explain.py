"""Show what made two images alike."""

from dataclasses import dataclass

from reid.domain.errors import DatasetError
from reid.domain.services.explaining import PairExplainer
from reid.domain.services.lists import split_off_unreadable
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.explanations import DeletionCheck, ExplainedImage, Explanation
from reid.domain.values.samples import ListedImage
from reid.ports.dataset import ImageSource
from reid.ports.pages import Page


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOutcome:
    """The check of one image of the pair."""

    image: ListedImage
    check: DeletionCheck
    is_check_passed: bool
    """Whether masking what is marked lowered the similarity more than the rest and chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationOutcome:
    """The numbers of an explanation."""

    encoder: EncoderDescription
    similarity: float
    """Cosine, in -1..1."""

    method: str
    are_cameras_used: bool
    query: ImageOutcome
    gallery: ImageOutcome
    page: str
    """Place of the page."""


class Explain:
    """Explains the similarity of one query and one gallery image."""

    def __init__(self, *, explainer: PairExplainer) -> None:
        """Keep the service."""
        self._explainer = explainer

    def run(
        self, query: ImageSource, gallery: ImageSource, *, page: Page[Explanation]
    ) -> ExplanationOutcome:
        """Explain, and write the page.

        Raises:
            CheckpointError: The page cannot be written.
            ConfigurationError: The method does not suit the encoder.
            DatasetError: A source is not one readable image.
        """
        images = (_only_image(query, role="query"), _only_image(gallery, role="gallery"))
        explanation = self._explainer.explain((query.reader, gallery.reader), images)
        return ExplanationOutcome(
            encoder=explanation.encoder,
            similarity=explanation.similarity,
            method=explanation.method,
            are_cameras_used=explanation.are_cameras_used,
            query=_outcome(explanation.query),
            gallery=_outcome(explanation.gallery),
            page=page.write(explanation)[0],
        )


def _only_image(source: ImageSource, *, role: str) -> ListedImage:
    listed = source.images()
    if len(listed) != 1:
        raise DatasetError(
            f"an explanation is of one {role} image, but {len(listed)} were given, from "
            f"{listed[0].name} on: name a single image"
        )
    readable, _ = split_off_unreadable(source, role=role)
    return readable.images()[0]


def _outcome(explained: ExplainedImage) -> ImageOutcome:
    return ImageOutcome(
        image=explained.image,
        check=explained.check,
        is_check_passed=explained.check.is_passed,
    )
