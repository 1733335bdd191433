"""Find the similarity below which matches are rejected as unknown people."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from reid.application.image_selection import ImageSelection, split_off_unreadable
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
from reid.domain.services.identifier import Identifier
from reid.domain.services.queries import (
    OwnImages,
    Query,
    single_queries,
    tracklet_queries,
    vectors_of_queries,
)
from reid.domain.values.counts import counted
from reid.domain.values.galleries import AuditAction, AuditEntry, Calibration, require_images
from reid.domain.values.open_set import FusionRecipe, OpenSetReport, OperatingPoint
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
    num_unlabelled: int
    """Images without a label, left out; unknown people need none."""

    num_unmatched: int
    """Queries left out because the gallery has their person from their own camera only."""


class Calibrate:
    """Searches a gallery for known and unknown people, and keeps the threshold that separates them.

    Half of the query people whom the gallery knows are searched as unknown, each as if the gallery
    had no image of that one person. So the gallery keeps its size, which matters: the more people
    it knows, the more often one of them resembles an unknown person. People whom the gallery does
    not know are unknown anyway.
    """

    def __init__(
        self,
        *,
        embed: Callable[[ImageSource, Gallery], Tensor],
        now: Callable[[], str],
        recipe: FusionRecipe,
        seed: int,
        are_tracklets: bool = False,
    ) -> None:
        """Keep the parts.

        `embed` turns images into (N, D) unit vectors by the gallery's encoder; `seed` decides who
        is searched as unknown; with `are_tracklets` the images of a person are one query.
        """
        self._embed = embed
        self._now = now
        self._recipe = recipe
        self._seed = seed
        self._are_tracklets = are_tracklets

    def run(
        self,
        queries: ImageSource,
        gallery: Gallery,
        *,
        false_accept_rate: float,
        non_mated: ImageSource | None = None,
    ) -> CalibrationOutcome:
        """Find the threshold and the confidence, and keep them in the gallery.

        Args:
            queries: Labelled images.
            gallery: Of the same people, or some of them.
            false_accept_rate: Share of unknown people that the threshold may accept.
            non_mated: Images of people who are not in the gallery, one person each where they have
                no label; None: half of the people of the queries stand in for them.

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
        labelled = ImageSelection(asked, [one for one in asked.images() if one.label is not None])
        cast = self._cast(self._queries(labelled), gallery, all_known=non_mated is not None)
        others, foreign = None, list[Query]()
        if non_mated is not None:
            others, not_readable = split_off_unreadable(non_mated, role="unknown person")
            foreign = [replace(query, own=OwnImages.NONE) for query in self._queries(others)]
            _refuse_known(foreign, gallery)
            unreadable = (*unreadable, *not_readable)
        _require_enough([*cast, *foreign], false_accept_rate)
        vectors = self._vectors(cast, labelled, gallery)
        rows = [row for row, query in enumerate(cast) if _has_answer(query, vectors[row], gallery)]
        kept, vectors = [cast[row] for row in rows], vectors[rows]
        if others is not None:
            kept.extend(foreign)
            vectors = torch.cat([vectors, self._vectors(foreign, others, gallery)])
        _require_enough(kept, false_accept_rate)
        trials = self._ask(kept, vectors, gallery)
        point = operating_point(trials, false_accept_rate)
        calibration = self._calibration(trials, point)
        num_images = sum(len(query.images) for query in kept)
        gallery.calibrate([calibration], entry=self._entry(calibration, num_images=num_images))
        return CalibrationOutcome(
            gallery=gallery.place,
            calibration=calibration,
            report=summarise_trials(trials, sorted({*REPORTED_RATES, false_accept_rate})),
            unreadable=unreadable,
            num_unlabelled=len(asked.images()) - len(labelled.images()),
            num_unmatched=len(cast) - len(rows),
        )

    def _queries(self, source: ImageSource) -> tuple[Query, ...]:
        images = source.images()
        if not images:
            raise EvaluationError(
                "no query has a label: name images as in Market-1501, put them in one sub-folder "
                "per person, or give a CSV with the columns path,label"
            )
        return tracklet_queries(images) if self._are_tracklets else single_queries(images)

    def _vectors(self, queries: Sequence[Query], source: ImageSource, gallery: Gallery) -> Tensor:
        vectors = self._embed(source, gallery)
        return vectors_of_queries(queries, source.images(), vectors)

    def _cast(self, queries: Sequence[Query], gallery: Gallery, *, all_known: bool) -> list[Query]:
        """Decide which people are searched as known."""
        labels = sorted({query.label for query in queries if query.label is not None})
        known = sorted({image.label for image in gallery.images(labels=labels)})
        order = torch.randperm(
            len(known), generator=generator_for(self._seed, "calibration", "strangers")
        )
        shown = set(known) if all_known else {known[row] for row in order[len(known) // 2 :]}
        choose = {True: OwnImages.OTHER_CAMERAS, False: OwnImages.NONE}
        return [replace(query, own=choose[query.label in shown]) for query in queries]

    def _ask(self, queries: Sequence[Query], vectors: Tensor, gallery: Gallery) -> OpenSetTrials:
        answers = Identifier(gallery, recipe=self._recipe, top_k=1).identify(queries, vectors)
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

    def _entry(self, calibration: Calibration, *, num_images: int) -> AuditEntry:
        rate = calibration.false_accept_rate
        return AuditEntry(
            at=self._now(),
            action=AuditAction.CALIBRATE,
            subject=f"{calibration.fusion}, false-accept rate {rate:g}",
            num_images=num_images,
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


def _refuse_known(non_mated: Sequence[Query], gallery: Gallery) -> None:
    labels = sorted({query.label for query in non_mated if query.label is not None})
    known = gallery.images(labels=labels)
    if known:
        raise EvaluationError(
            f"{known[0].label} is among the unknown people and in {gallery.place}: leave images of "
            "known people out of the unknown people"
        )


def _require_enough(queries: Sequence[Query], rate: float) -> None:
    """Refuse to search a threshold with too few queries."""
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
