"""Write an encoder for another runtime, and check that it still computes the same."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from reid.domain.errors import EncoderError
from reid.domain.numerical_error import NumericalError, measure_error, probe_images
from reid.domain.seeding import generator_for
from reid.domain.services.image_sample import ImageSample
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.reports import EvaluationReport
from reid.ports.image_encoder import ExportPlace, ImageEncoder

NUM_PROBES = 8
BATCH_SIZES = (1, NUM_PROBES)

MAX_DEVIATION = {"fp32": 1e-6, "fp16": 1e-4, "bf16": 1e-2, "int8": 5e-2}
"""Largest admitted angle, by precision. Measured for ViT-B/16 and RN50 with random weights, worst
of 16 probes: below 1e-10 in float32; 4e-4 and 1e-3 in bfloat16 (rn-tiny: 2e-3). The margin is for
weights whose features hardly differ between images. A trained EfficientNet-Lite0 in int8: 1.6e-2,
worst of 64 images of people."""


Score: TypeAlias = Callable[[ImageEncoder], EvaluationReport]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreLoss:
    """Scores of an encoder and its export on one dataset, in percent."""

    map_before: float
    map_after: float
    rank_1_before: float
    rank_1_after: float
    max_loss: float  # points of each score that were admitted

    @property
    def worst(self) -> float:
        """Points lost by the score that lost most; negative where both gained."""
        return max(self.map_before - self.map_after, self.rank_1_before - self.rank_1_after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """What was written, and how far it deviates."""

    encoder: EncoderDescription
    precision: str
    deviations: dict[int, NumericalError]  # by batch size
    max_error: float | None  # largest angle that was admitted; None: the scores decided
    scores: ScoreLoss | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Exports one encoder.

    Encoders in int8 are compared on real images, and by their scores where a dataset is given:
    they then decide, and not the angle.
    """

    encoder: ImageEncoder  # in float32 on the CPU
    seed: int  # of the images compared on
    sample: ImageSample | None = None  # images to compare on; None: drawn ones
    score: Score | None = None  # scores an encoder on a dataset
    max_score_loss: float = 0.5  # points of mAP and of Rank-1 that may be lost

    def run(self, place: ExportPlace, *, max_error: float | None = None) -> ExportOutcome:
        """Write the encoder, compare, and keep what was written if it is near enough.

        Without `max_error` the limit is `MAX_DEVIATION` of the place's precision, or none where
        scores decide.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            DatasetError: An image cannot be read.
            EncoderError: The encoder cannot be exported or deviates more; nothing is left then.
        """
        limit = MAX_DEVIATION[place.precision] if max_error is None else max_error
        is_judged_by_scores = self.score is not None and max_error is None
        with place.write(self.encoder) as (written, keep):
            deviations = self._compare(written)
            for size, found in deviations.items():
                if not is_judged_by_scores and not found.angle <= limit:
                    raise EncoderError(
                        f"exported, the encoder deviates by {found.angle:.1e} (1 - cos, mean "
                        f"removed) in batches of {size}, more than {limit:.1e}: nothing was kept; "
                        "export in fp32, update the runtime, or admit a larger deviation"
                    )
            outcome = ExportOutcome(
                encoder=written.description,
                precision=place.precision,
                deviations=deviations,
                max_error=None if is_judged_by_scores else limit,
                scores=self._require_scores(written),
            )
            record = {f"batch of {size}": asdict(found) for size, found in deviations.items()}
            scores = {} if outcome.scores is None else {"scores": asdict(outcome.scores)}
            keep({**record, **scores, "max_error": outcome.max_error, "seed": self.seed})
        return outcome

    def _require_scores(self, written: ImageEncoder) -> ScoreLoss | None:
        if self.score is None:
            return None
        before, after = self.score(self.encoder), self.score(written)
        scores = ScoreLoss(
            map_before=100 * before.mean_average_precision,
            map_after=100 * after.mean_average_precision,
            rank_1_before=100 * before.rank(1),
            rank_1_after=100 * after.rank(1),
            max_loss=self.max_score_loss,
        )
        if not scores.worst <= self.max_score_loss:
            raise EncoderError(
                f"exported, the encoder scores mAP {scores.map_after:.2f} and Rank-1 "
                f"{scores.rank_1_after:.2f}, before {scores.map_before:.2f} and "
                f"{scores.rank_1_before:.2f}: more than {self.max_score_loss:g} points are lost, "
                "so nothing was kept; give more calibration images, set export.max_score_loss, or "
                "export in fp32"
            )
        return scores

    def _probes(self) -> Tensor:
        if self.sample is not None:
            return self.sample.read(self.sample.compared, self.encoder)
        generator = generator_for(self.seed, "export")
        return probe_images(self.encoder.geometry, NUM_PROBES, generator=generator)

    @torch.no_grad()
    def _compare(self, written: ImageEncoder) -> dict[int, NumericalError]:
        """Compare without cameras, and then with some where the encoder knows any."""
        images, num_cameras = self._probes(), self.encoder.geometry.num_cameras
        cameras: list[Tensor | None] = [None]
        if num_cameras:
            cameras.append(torch.arange(len(images)) % num_cameras)
        found: dict[int, list[NumericalError]] = {size: [] for size in BATCH_SIZES}
        for camids in cameras:
            wanted = self.encoder.encode_images(images, camids)
            for size, errors in found.items():
                for rows in torch.split(torch.arange(len(images)), size):
                    chosen = None if camids is None else camids[rows]
                    got = written.encode_images(images[rows], chosen)
                    for reference, candidate in (
                        (wanted.embedding(), got.embedding()),
                        (wanted.penultimate, got.penultimate),
                    ):
                        if not reference.shape[1]:  # a level that the encoder does not have
                            continue
                        mean = reference.mean(dim=0)
                        errors.append(measure_error(reference[rows], candidate, mean=mean))
        return {
            size: NumericalError(
                angle=max(error.angle for error in errors),
                relative=max(error.relative for error in errors),
            )
            for size, errors in found.items()
        }
