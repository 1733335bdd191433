"""Write an encoder for another runtime, and check that it still computes the same."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from reid.domain.errors import EncoderError
from reid.domain.numerical_error import NumericalError, measure_error, probe_images
from reid.domain.seeding import generator_for
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.features import ImageFeatures
from reid.ports.export import ExportPlace
from reid.ports.image_encoder import ImageEncoder

NUM_PROBES = 8
BATCH_SIZES = (1, NUM_PROBES)

MAX_DEVIATION = {"fp32": 1e-6, "bf16": 1e-2}
"""Largest admitted angle, by precision. Measured for ViT-B/16 and RN50 with random weights, worst
of 16 probes: below 1e-10 in float32; 4e-4 and 1e-3 in bfloat16 (rn-tiny: 2e-3). The margin is for
weights whose features hardly differ between images; int8 would already need 1e-2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """What was written, and how far it deviates."""

    encoder: EncoderDescription
    precision: str
    deviations: dict[int, NumericalError]
    """By batch size."""

    max_error: float
    """Largest angle that was admitted."""


class Export:
    """Exports one encoder."""

    def __init__(self, *, encoder: ImageEncoder, seed: int) -> None:
        """Keep the encoder, in float32 on the CPU, and the seed of the images compared on."""
        self._encoder = encoder
        self._seed = seed

    def run(self, place: ExportPlace, *, max_error: float | None = None) -> ExportOutcome:
        """Write the encoder, compare, and keep what was written if its angle is small enough.

        Without `max_error` the limit is `MAX_DEVIATION` of the place's precision.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            EncoderError: The encoder cannot be exported or deviates more; nothing is left then.
        """
        limit = MAX_DEVIATION[place.precision] if max_error is None else max_error
        try:
            written = place.write(self._encoder)
            deviations = self._compare(written)
            _refuse_beyond(limit, deviations)
            place.keep(_record(deviations) | {"max_error": limit, "seed": self._seed})
        finally:
            place.discard()
        return ExportOutcome(
            encoder=written.description,
            precision=place.precision,
            deviations=deviations,
            max_error=limit,
        )

    @torch.no_grad()
    def _compare(self, written: ImageEncoder) -> dict[int, NumericalError]:
        generator = generator_for(self._seed, "export")
        images = probe_images(self._encoder.geometry, NUM_PROBES, generator=generator)
        found: dict[int, list[NumericalError]] = {size: [] for size in BATCH_SIZES}
        for camids in self._cameras():
            wanted = self._encoder.encode_images(images, camids)
            for size, deviations in found.items():
                for rows in torch.split(torch.arange(NUM_PROBES), size):
                    chosen = None if camids is None else camids[rows]
                    got = written.encode_images(images[rows], chosen)
                    deviations.extend(_deviations(wanted, got, rows=rows))
        return {size: _worst(deviations) for size, deviations in found.items()}

    def _cameras(self) -> Iterator[Tensor | None]:
        """Yield no cameras, and then some where the encoder knows any."""
        yield None
        num_cameras = self._encoder.geometry.num_cameras
        if num_cameras:
            yield torch.arange(NUM_PROBES) % num_cameras


def _deviations(
    wanted: ImageFeatures, got: ImageFeatures, *, rows: Tensor
) -> Iterator[NumericalError]:
    for reference, candidate in (
        (wanted.embedding(), got.embedding()),
        (wanted.penultimate, got.penultimate),
    ):
        yield measure_error(reference[rows], candidate, mean=reference.mean(dim=0))


def _record(deviations: dict[int, NumericalError]) -> dict[str, JsonValue]:
    return {
        f"batch of {size}": {"angle": found.angle, "relative": found.relative}
        for size, found in deviations.items()
    }


def _worst(deviations: list[NumericalError]) -> NumericalError:
    return NumericalError(
        angle=max(found.angle for found in deviations),
        relative=max(found.relative for found in deviations),
    )


def _refuse_beyond(limit: float, deviations: dict[int, NumericalError]) -> None:
    for size, found in deviations.items():
        if not found.angle <= limit:
            raise EncoderError(
                f"exported, the encoder deviates by {found.angle:.1e} (1 - cos, mean removed) in "
                f"batches of {size}, more than {limit:.1e}: nothing was kept; export in fp32, "
                "update the runtime, or admit a larger deviation"
            )
