"""Find out below which similarity nobody in a gallery is meant."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reid.application.picture_selection import PictureSelection, split_off_unreadable
from reid.domain.errors import ConfigurationError, EvaluationError
from reid.domain.open_set import (
    OpenSetTrials,
    fit_confidence,
    operating_point,
    shows_rate,
    summarise_trials,
)
from reid.domain.seeding import generator_for
from reid.domain.services.gallery import Gallery
from reid.domain.services.people import People
from reid.domain.services.questions import (
    OwnPictures,
    Question,
    ask_each,
    ask_tracklets,
    vectors_of_questions,
)
from reid.domain.values.counts import counted
from reid.domain.values.galleries import AuditAction, AuditEntry, Calibration, require_pictures
from reid.domain.values.people import FusionRecipe, OpenSetReport, OperatingPoint
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import PictureSource

REPORTED_RATES = (1e-3, 1e-2, 1e-1)
"""False-accept rates at which the field reports identification rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOutcome:
    """What was found, and on what."""

    gallery: str
    calibration: Calibration
    report: OpenSetReport
    unreadable: tuple[UnreadableImage, ...]
    num_unlabelled: int
    """Pictures of nobody in particular, left out; strangers need no label."""

    num_unmatched: int
    """Questions left out because the gallery has their person by their own camera only."""


class Calibrate:
    """Asks a gallery for people whom it knows and for strangers, and keeps where they part.

    Strangers are half of the asked people whom the gallery knows, each asked for as if the gallery
    had no picture of that one person: it keeps the size with which it will be used, and the more
    people it knows, the more often one of them resembles a stranger. People whom it does not know
    are strangers anyway.
    """

    def __init__(
        self,
        *,
        embed: Callable[[PictureSource, Gallery], Tensor],
        now: Callable[[], str],
        recipe: FusionRecipe,
        seed: int,
        are_tracklets: bool = False,
    ) -> None:
        """Keep the parts.

        Args:
            embed: Turns pictures into (N, D) unit vectors by the gallery's encoder, or refuses.
            now: Tells the time as galleries write it.
            recipe: How similarities to the pictures of a person become one.
            seed: Decides who is a stranger.
            are_tracklets: Whether the pictures of a person are one question.
        """
        self._embed = embed
        self._now = now
        self._recipe = recipe
        self._seed = seed
        self._are_tracklets = are_tracklets

    def run(
        self,
        queries: PictureSource,
        gallery: Gallery,
        *,
        false_accept_rate: float,
        strangers: PictureSource | None = None,
    ) -> CalibrationOutcome:
        """Find the threshold and the confidence, and keep them in the gallery.

        Args:
            queries: Labelled pictures.
            gallery: Of the same people, or some of them.
            false_accept_rate: Share of strangers whom the threshold may let pass.
            strangers: Pictures of people who are not in the gallery, one person each where they
                have no label; None: half of the people of the queries stand in for them.

        Raises:
            DatasetError: No readable picture.
            ConfigurationError: The rate is out of range.
            EvaluationError: Too few known people or strangers.
            GalleryError: The gallery is empty, of another encoder, or cannot be written.
        """
        if not 0 < false_accept_rate < 1:
            raise ConfigurationError(
                f"a false-accept rate lies between 0 and 1, got {false_accept_rate:g}: give another"
            )
        # All that can be refused is, before pictures are embedded, which takes long.
        require_pictures(gallery.describe(), place=gallery.place)
        asked, unreadable = split_off_unreadable(queries, role="query")
        labelled = PictureSelection(asked, [p for p in asked.pictures() if p.label is not None])
        cast = self._cast(self._questions(labelled), gallery, all_known=strangers is not None)
        others, foreign = None, list[Question]()
        if strangers is not None:
            others, not_readable = split_off_unreadable(strangers, role="stranger")
            foreign = [
                replace(question, own=OwnPictures.NONE) for question in self._questions(others)
            ]
            _refuse_known(foreign, gallery)
            unreadable = (*unreadable, *not_readable)
        _require_enough([*cast, *foreign], false_accept_rate)
        vectors = self._vectors(cast, labelled, gallery)
        rows = [
            row for row, question in enumerate(cast) if _has_answer(question, vectors[row], gallery)
        ]
        kept, vectors = [cast[row] for row in rows], vectors[rows]
        if others is not None:
            kept.extend(foreign)
            vectors = torch.cat([vectors, self._vectors(foreign, others, gallery)])
        _require_enough(kept, false_accept_rate)
        trials = self._ask(kept, vectors, gallery)
        point = operating_point(trials, false_accept_rate)
        calibration = self._calibration(trials, point)
        num_pictures = sum(len(question.pictures) for question in kept)
        gallery.calibrate([calibration], entry=self._entry(calibration, num_pictures=num_pictures))
        return CalibrationOutcome(
            gallery=gallery.place,
            calibration=calibration,
            report=summarise_trials(trials, sorted({*REPORTED_RATES, false_accept_rate})),
            unreadable=unreadable,
            num_unlabelled=len(asked.pictures()) - len(labelled.pictures()),
            num_unmatched=len(cast) - len(rows),
        )

    def _questions(self, source: PictureSource) -> tuple[Question, ...]:
        pictures = source.pictures()
        if not pictures:
            raise EvaluationError(
                "no query has a label: name pictures as in Market-1501, put them in one sub-folder "
                "per person, or give a CSV with the columns path,label"
            )
        return ask_tracklets(pictures) if self._are_tracklets else ask_each(pictures)

    def _vectors(
        self, questions: Sequence[Question], source: PictureSource, gallery: Gallery
    ) -> Tensor:
        vectors = self._embed(source, gallery)
        return vectors_of_questions(questions, source.pictures(), vectors)

    def _cast(
        self, questions: Sequence[Question], gallery: Gallery, *, all_known: bool
    ) -> list[Question]:
        """Decide whose pictures the gallery shows."""
        labels = sorted({question.label for question in questions if question.label is not None})
        known = sorted({picture.label for picture in gallery.pictures(labels=labels)})
        order = torch.randperm(
            len(known), generator=generator_for(self._seed, "calibration", "strangers")
        )
        shown = set(known) if all_known else {known[row] for row in order[len(known) // 2 :]}
        return [
            replace(
                question,
                own=OwnPictures.OTHER_CAMERAS if question.label in shown else OwnPictures.NONE,
            )
            for question in questions
        ]

    def _ask(
        self, questions: Sequence[Question], vectors: Tensor, gallery: Gallery
    ) -> OpenSetTrials:
        answers = People(gallery, recipe=self._recipe, top_k=1).identify(questions, vectors)
        is_known = [question.own is OwnPictures.OTHER_CAMERAS for question in questions]
        is_right = [
            known and answer.label == answer.true_label
            for known, answer in zip(is_known, answers, strict=True)
        ]
        return OpenSetTrials(
            similarities=torch.tensor([a.similarity for a in answers], dtype=torch.float64),
            is_known=torch.tensor(is_known, dtype=torch.bool),
            is_right=torch.tensor(is_right, dtype=torch.bool),
        )

    def _entry(self, calibration: Calibration, *, num_pictures: int) -> AuditEntry:
        rate = calibration.false_accept_rate
        return AuditEntry(
            at=self._now(),
            action=AuditAction.CALIBRATE,
            subject=f"{calibration.fusion}, false-accept rate {rate:g}",
            num_pictures=num_pictures,
        )

    def _calibration(self, trials: OpenSetTrials, point: OperatingPoint) -> Calibration:
        slope, intercept = fit_confidence(trials.similarities, trials.is_right)
        num_known = int(trials.is_known.sum())
        return Calibration(
            threshold=point.threshold,
            false_accept_rate=point.false_accept_rate,
            measured_false_accept_rate=point.measured_false_accept_rate,
            identification_rate=point.identification_rate or 0.0,
            slope=slope,
            intercept=intercept,
            num_known=num_known,
            num_unknown=len(trials.similarities) - num_known,
            fusion=self._recipe.words(are_tracklets=self._are_tracklets),
        )


def _has_answer(question: Question, vector: Tensor, gallery: Gallery) -> bool:
    """Whether a known person's question can be answered rightly; a stranger's always counts."""
    if question.own is not OwnPictures.OTHER_CAMERAS or question.label is None:
        return True
    pictures = gallery.pictures(labels=[question.label])
    cosines = (gallery.vectors([picture.key for picture in pictures]) @ vector).tolist()
    return any(
        not question.hides(picture, similarity=cosine)
        for picture, cosine in zip(pictures, cosines, strict=True)
    )


def _refuse_known(strangers: Sequence[Question], gallery: Gallery) -> None:
    labels = sorted({question.label for question in strangers if question.label is not None})
    known = gallery.pictures(labels=labels)
    if known:
        raise EvaluationError(
            f"{known[0].label} is among the strangers and in {gallery.place}: leave pictures of "
            "known people out of the strangers"
        )


def _require_enough(questions: Sequence[Question], rate: float) -> None:
    """Refuse to look for a threshold that so many questions cannot tell."""
    num_known = sum(question.own is OwnPictures.OTHER_CAMERAS for question in questions)
    num_unknown = len(questions) - num_known
    if not (num_known and num_unknown):
        raise EvaluationError(
            f"{counted(num_known, 'question')} of known people and {num_unknown} of strangers are "
            "too few to calibrate by: both are needed, of at least two people whom the gallery has "
            "by other pictures, or give pictures of strangers too"
        )
    if not shows_rate(num_unknown, rate):
        raise EvaluationError(
            f"{counted(num_unknown, 'question')} of strangers cannot show a false-accept rate of "
            f"{rate:g}: the smallest is {1 / num_unknown:.3g}; give more pictures, or ask for a "
            "larger rate"
        )
