"""Show what made two pictures alike."""

from dataclasses import dataclass

from reid.application.picture_selection import split_off_unreadable
from reid.domain.errors import DatasetError
from reid.domain.services.explaining import PairExplainer
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.explanations import DeletionCheck, ExplainedPicture
from reid.domain.values.samples import Picture
from reid.ports.dataset import PictureSource
from reid.ports.explanation import ExplanationPage


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureOutcome:
    """What is said of one picture of the pair."""

    picture: Picture
    check: DeletionCheck
    is_check_passed: bool
    """Whether blotting out what is marked lowered the similarity more than the rest and chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplanationOutcome:
    """What was shown, in numbers."""

    encoder: EncoderDescription
    similarity: float
    """Cosine, in -1..1."""

    method: str
    are_cameras_used: bool
    query: PictureOutcome
    gallery: PictureOutcome
    page: str
    """Place of what was drawn."""


class Explain:
    """Explains the similarity of one query and one gallery picture."""

    def __init__(self, *, explainer: PairExplainer) -> None:
        """Keep the service."""
        self._explainer = explainer

    def run(
        self, query: PictureSource, gallery: PictureSource, *, page: ExplanationPage
    ) -> ExplanationOutcome:
        """Explain, and show it on the page.

        Raises:
            CheckpointError: The page cannot be written.
            ConfigurationError: The method does not suit the encoder.
            DatasetError: A source is not one readable picture.
        """
        pictures = (
            _only_picture(query, role="query"),
            _only_picture(gallery, role="gallery"),
        )
        explanation = self._explainer.explain((query.reader, gallery.reader), pictures)
        return ExplanationOutcome(
            encoder=explanation.encoder,
            similarity=explanation.similarity,
            method=explanation.method,
            are_cameras_used=explanation.are_cameras_used,
            query=_outcome(explanation.query),
            gallery=_outcome(explanation.gallery),
            page=page.write(explanation),
        )


def _only_picture(source: PictureSource, *, role: str) -> Picture:
    listed = source.pictures()
    if len(listed) != 1:
        raise DatasetError(
            f"an explanation is of one {role} picture, but {len(listed)} were given, from "
            f"{listed[0].image} on: name a single picture"
        )
    readable, _ = split_off_unreadable(source, role=role)
    return readable.pictures()[0]


def _outcome(explained: ExplainedPicture) -> PictureOutcome:
    return PictureOutcome(
        picture=explained.picture,
        check=explained.check,
        is_check_passed=explained.check.is_passed,
    )
