"""Find the similarity below which matches are rejected as unknown people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reid.domain.errors import ConfigurationError, EvaluationError
from reid.domain.ranking.open_set import (
    OpenSetTrials,
    fit_confidence,
    operating_point,
    shows_rate,
    summarise_trials,
)
from reid.domain.seeding import generator_for
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.identifier import Identifier
from reid.domain.services.lists import select_images, split_off_unreadable
from reid.domain.services.queries import OwnImages, Query, queries_of, vectors_of_queries
from reid.domain.values.counts import counted
from reid.domain.values.galleries import AuditAction, AuditEntry, require_images
from reid.domain.values.open_set import Calibration, FusionRecipe, OpenSetReport, OperatingPoint
from reid.domain.values.samples import UnreadableImage
from reid.ports.dataset import ImageSource

REPORTED_RATES = (1e-3, 1e-2, 1e-1)
"""False-accept rates at which the field reports identification rates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationOutcome:
    """The calibration, and the queries it was found on."""

    gallery: str
    calibration: Calibration
    report: OpenSetReport
    unreadable: tuple[UnreadableImage, ...]
    num_unlabelled: int  # images without a label, left out; unknown people need none
    num_unmatched: int
    """Queries left out because the gallery has their person from their own camera only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrate:
    """Searches a gallery for known and unknown people, and keeps the threshold that separates them.

    Half of the query people whom the gallery knows are searched as unknown, each as if the gallery
    had no image of that one person. So the gallery keeps its size, which matters: the more people
    it knows, the more often one of them resembles an unknown person. People whom the gallery does
    not know are unknown anyway.
    """

    embed: Callable[[ImageSource, Gallery], Tensor]
    """Turns images into (N, D) unit vectors by the gallery's encoder."""
    now: Callable[[], str]
    recipe: FusionRecipe
    seed: int  # decides who is searched as unknown
    are_tracklets: bool = False  # whether the images of a person are one query

    def run(
        self,
        queries: ImageSource,
        gallery: Gallery,
        *,
        false_accept_rate: float,
        non_mated: ImageSource | None = None,
    ) -> CalibrationOutcome:
        """Find the threshold and the confidence, and keep them in the gallery.

        `queries` are labelled images of the gallery's people, or some of them; `false_accept_rate`
        is the share of unknown people that the threshold may accept; `non_mated` are images of
        people who are not in the gallery, one person each where they have no label. Without them,
        half of the people of the queries stand in for them.

        Raises:
            DatasetError: No readable image.
            ConfigurationError: The rate is out of range.
            EvaluationError: Too few known or unknown people.
            GalleryError: The gallery is empty, of another encoder, or cannot be written.
        """
        if not 0 < false_accept_rate < 1:
            raise ConfigurationError(
                f"a false-accept rate lies between 0 and 1, got {false_accept_rate:g}: give another"
            )
        # Refuse whatever can be refused before images are embedded, which takes long.
        require_images(gallery.describe(), place=gallery.place)
        asked, unreadable = split_off_unreadable(queries, role="query")
        labelled = _labelled(asked)
        parts = [(labelled, self._cast(labelled, gallery, all_known=non_mated is not None))]
        if non_mated is not None:
            others, not_readable = split_off_unreadable(non_mated, role="unknown person")
            parts.append((others, self._foreign(others, gallery)))
            unreadable = (*unreadable, *not_readable)
        calibration, report, num_unmatched = self._measure(parts, gallery, rate=false_accept_rate)
        return CalibrationOutcome(
            gallery=gallery.place,
            calibration=calibration,
            report=report,
            unreadable=unreadable,
            num_unlabelled=len(asked.images()) - len(labelled.images()),
            num_unmatched=num_unmatched,
        )

    def _cast(self, source: ImageSource, gallery: Gallery, *, all_known: bool) -> list[Query]:
        """Decide which people are searched as known."""
        queries = queries_of(source.images(), are_tracklets=self.are_tracklets)
        labels = sorted({query.label for query in queries if query.label is not None})
        known = sorted({image.label for image in gallery.images(labels=labels)})
        generator = generator_for(self.seed, "calibration", "strangers")
        order = torch.randperm(len(known), generator=generator)
        shown = set(known) if all_known else {known[row] for row in order[len(known) // 2 :]}
        choose = {True: OwnImages.OTHER_CAMERAS, False: OwnImages.NONE}
        return [replace(query, own=choose[query.label in shown]) for query in queries]

    def _foreign(self, source: ImageSource, gallery: Gallery) -> list[Query]:
        """Search people as unknown, and refuse those whom the gallery knows."""
        queries = queries_of(source.images(), are_tracklets=self.are_tracklets)
        labels = sorted({query.label for query in queries if query.label is not None})
        if known := gallery.images(labels=labels):
            raise EvaluationError(
                f"{known[0].label} is among the unknown people and in {gallery.place}: leave "
                "images of known people out of the unknown people"
            )
        return [replace(query, own=OwnImages.NONE) for query in queries]

    def _measure(
        self, parts: Sequence[tuple[ImageSource, list[Query]]], gallery: Gallery, *, rate: float
    ) -> tuple[Calibration, OpenSetReport, int]:
        """Search the gallery, keep what follows, and count the queries that were left out."""
        everybody = [query for _, queries in parts for query in queries]
        _require_enough(everybody, rate)
        vectors = torch.cat(
            [
                vectors_of_queries(queries, source.images(), self.embed(source, gallery))
                for source, queries in parts
            ]
        )
        rows = [
            row for row, query in enumerate(everybody) if _has_answer(query, vectors[row], gallery)
        ]
        queries = [everybody[row] for row in rows]
        _require_enough(queries, rate)
        trials = self._ask(queries, vectors[rows], gallery)
        calibration = self._calibration(trials, operating_point(trials, rate))
        entry = AuditEntry(
            at=self.now(),
            action=AuditAction.CALIBRATE,
            subject=f"{calibration.fusion}, false-accept rate {rate:g}",
            num_images=sum(len(query.images) for query in queries),
        )
        gallery.calibrate([calibration], entry=entry)
        report = summarise_trials(trials, sorted({*REPORTED_RATES, rate}))
        return calibration, report, len(everybody) - len(rows)

    def _ask(self, queries: Sequence[Query], vectors: Tensor, gallery: Gallery) -> OpenSetTrials:
        options = IdentificationOptions(recipe=self.recipe, top_k=1)
        answers = Identifier(gallery, options).identify(queries, vectors)
        is_known = [query.own is OwnImages.OTHER_CAMERAS for query in queries]
        is_right = [
            known and answer.label == answer.true_label
            for known, answer in zip(is_known, answers, strict=True)
        ]
        return OpenSetTrials(
            similarities=torch.tensor([a.similarity for a in answers], dtype=torch.float64),
            is_known=torch.tensor(is_known, dtype=torch.bool),
            is_right=torch.tensor(is_right, dtype=torch.bool),
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
            fusion=self.recipe.words(are_tracklets=self.are_tracklets),
        )


def _labelled(source: ImageSource) -> ImageSource:
    images = [image for image in source.images() if image.label is not None]
    if not images:
        raise EvaluationError(
            "no query has a label: name images as in Market-1501, put them in one sub-folder per "
            "person, or give a CSV with the columns path,label"
        )
    return select_images(source, images)


def _has_answer(query: Query, vector: Tensor, gallery: Gallery) -> bool:
    """Whether a query can be answered correctly; an unknown person's always can."""
    if query.own is not OwnImages.OTHER_CAMERAS or query.label is None:
        return True
    images = gallery.images(labels=[query.label])
    cosines = (gallery.vectors([image.key for image in images]) @ vector).tolist()
    return any(
        not query.hides(image, similarity=cosine)
        for image, cosine in zip(images, cosines, strict=True)
    )


def _require_enough(queries: Sequence[Query], rate: float) -> None:
    num_known = sum(query.own is OwnImages.OTHER_CAMERAS for query in queries)
    num_unknown = len(queries) - num_known
    if not (num_known and num_unknown):
        raise EvaluationError(
            f"{counted(num_known, 'query')} of known people and {num_unknown} of unknown people "
            "are too few to calibrate by: both are needed, of at least two people whom the gallery "
            "has by other images, or give images of unknown people too"
        )
    if not shows_rate(num_unknown, rate):
        raise EvaluationError(
            f"{counted(num_unknown, 'query')} of unknown people cannot show a false-accept rate of "
            f"{rate:g}: the smallest is {1 / num_unknown:.3g}; give more images, or ask for a "
            "larger rate"
        )
