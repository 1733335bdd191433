"""Write an encoder for another runtime, and check that it still computes the same."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from reid.domain.errors import EncoderError
from reid.domain.numerical_error import NumericalError, measure_error, probe_images
from reid.domain.seeding import generator_for
from reid.domain.values.encoders import EncoderDescription
from reid.ports.image_encoder import ExportPlace, ImageEncoder

NUM_PROBES = 8
BATCH_SIZES = (1, NUM_PROBES)

MAX_DEVIATION = {"fp32": 1e-6, "fp16": 1e-4, "bf16": 1e-2}
"""Largest admitted angle, by precision. Measured for ViT-B/16 and RN50 with random weights, worst
of 16 probes: below 1e-10 in float32; 4e-4 and 1e-3 in bfloat16 (rn-tiny: 2e-3). The margin is for
weights whose features hardly differ between images; int8 would already need 1e-2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOutcome:
    """What was written, and how far it deviates."""

    encoder: EncoderDescription
    precision: str
    deviations: dict[int, NumericalError]  # by batch size
    max_error: float  # largest angle that was admitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """Exports one encoder."""

    encoder: ImageEncoder  # in float32 on the CPU
    seed: int  # of the images compared on

    def run(self, place: ExportPlace, *, max_error: float | None = None) -> ExportOutcome:
        """Write the encoder, compare, and keep what was written if its angle is small enough.

        Without `max_error` the limit is `MAX_DEVIATION` of the place's precision.

        Raises:
            ConfigurationError: The runtime is not installed, or does not know the precision.
            EncoderError: The encoder cannot be exported or deviates more; nothing is left then.
        """
        limit = MAX_DEVIATION[place.precision] if max_error is None else max_error
        with place.write(self.encoder) as (written, keep):
            deviations = self._compare(written)
            for size, found in deviations.items():
                if not found.angle <= limit:
                    raise EncoderError(
                        f"exported, the encoder deviates by {found.angle:.1e} (1 - cos, mean "
                        f"removed) in batches of {size}, more than {limit:.1e}: nothing was kept; "
                        "export in fp32, update the runtime, or admit a larger deviation"
                    )
            record = {f"batch of {size}": asdict(found) for size, found in deviations.items()}
            keep({**record, "max_error": limit, "seed": self.seed})
        return ExportOutcome(
            encoder=written.description,
            precision=place.precision,
            deviations=deviations,
            max_error=limit,
        )

    @torch.no_grad()
    def _compare(self, written: ImageEncoder) -> dict[int, NumericalError]:
        """Compare without cameras, and then with some where the encoder knows any."""
        geometry, generator = self.encoder.geometry, generator_for(self.seed, "export")
        images = probe_images(geometry, NUM_PROBES, generator=generator)
        cameras: list[Tensor | None] = [None]
        if geometry.num_cameras:
            cameras.append(torch.arange(NUM_PROBES) % geometry.num_cameras)
        found: dict[int, list[NumericalError]] = {size: [] for size in BATCH_SIZES}
        for camids in cameras:
            wanted = self.encoder.encode_images(images, camids)
            for size, errors in found.items():
                for rows in torch.split(torch.arange(NUM_PROBES), size):
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
