"""A step of stage 2: both passes through the image tower, the losses and Adam, for a PK batch.

In float32, where it has to equal the plain step, and in bfloat16, where it has to be fast. Weights
and images are random; what is timed does not depend on what they show.

Letters: B batch of P identities x K images, C identities, E width of the shared space.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Row, Scale, Timing, compare
from benchmarks.plain.stage_two import PlainStageTwo
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.seeding import generator_for
from reid.domain.services.freezing import freeze_text
from reid.domain.training.heads import ReidHeads
from reid.domain.training.objectives import fine_tuning_objective
from reid.domain.training.optimizers import fine_tuning_optimizer
from reid.domain.values.encoders import EncoderGeometry, EncoderRequest
from reid.domain.values.recipes import FineTuningRecipe

GOAL = 2.0
TOLERANCE = 1e-5
IMAGES_PER_IDENTITY = 4
OURS = {
    "fp32": "fp32, lean graph, fused Adam in two groups",
    "bf16": "bf16 autocast, channels last (RN50), lean graph, fused Adam in two groups",
}
PLAIN = "fp32, all tokens, Adam with a group per parameter, loss read every step"


@dataclass(frozen=True)
class Size:
    """How much work."""

    kind: str
    identities_per_batch: int
    runs: dict[str, int]
    """Timed pairs of each precision; the comparison of results has warmed both up."""

    identities: int = 751


FULL = (
    Size(kind="rn50", identities_per_batch=16, runs={"fp32": 1, "bf16": 2}),
    Size(kind="vit-b16", identities_per_batch=4, runs={"fp32": 2, "bf16": 3}),
)
USUAL = tuple(
    Size(kind=kind, identities_per_batch=2, runs={"fp32": 1, "bf16": 1})
    for kind in ("rn50", "vit-b16")
)
"""Without instructions for bf16 a step in it takes ten times as long as in float32."""

QUICK = tuple(
    Size(kind=kind, identities_per_batch=3, runs={"fp32": 1, "bf16": 1}, identities=12)
    for kind in ("rn-tiny", "vit-tiny")
)


def rows(scale: Scale) -> Iterator[Row]:
    """Time one step of both architectures in both precisions."""
    for size in scale.choose(QUICK, USUAL, FULL):
        yield from _rows(size)


def _rows(size: Size) -> Iterator[Row]:
    batch = _Batch.draw(size)
    plain = _plain(size, batch)
    wanted = _Result(plain.step(batch.images, batch.labels), _gradients_of(plain.parameters()))
    for precision in OURS:
        yield _row(size, batch, precision, plain=plain, wanted=wanted)


def _row(
    size: Size, batch: "_Batch", precision: str, *, plain: PlainStageTwo, wanted: "_Result"
) -> Row:
    ours = _Ours(size, batch, precision=precision)
    loss = ours.step(batch)
    deviation = _Result(float(loss), ours.gradients()).deviation_from(wanted)
    timing = compare(
        lambda: ours.step(batch),
        lambda: plain.step(batch.images, batch.labels),
        runs=size.runs[precision],
        warmup=0,
    )
    return _told(size, precision, timing=timing, deviation=deviation)


def _told(size: Size, precision: str, *, timing: Timing, deviation: dict[str, float]) -> Row:
    is_exact = max(deviation["loss"], deviation["gradients"]) <= TOLERANCE
    is_fast = timing.ratio >= GOAL
    return Row(
        part=f"stage 2 step, {size.kind}, batch {size.identities_per_batch * IMAGES_PER_IDENTITY}",
        ours=OURS[precision],
        plain=PLAIN,
        goal=f"deviation <= {TOLERANCE:g}" if precision == "fp32" else f">= {GOAL:g}x",
        is_met=is_exact if precision == "fp32" else is_fast,
        exactness=(
            f"loss {deviation['loss']:.0e}, gradients {deviation['gradients']:.0e} (relative), "
            f"their cosine {deviation['cosine']:.6f}"
        ),
        details={"precision": precision, **deviation},
        **asdict(timing),
    )


@dataclass(frozen=True)
class _Batch:
    """What both ways learn from."""

    images: Tensor
    """(B, 3, H, W), the P identities in patterns of their own, with noise."""

    labels: Tensor
    texts: Tensor
    """(C, E)."""

    @classmethod
    def draw(cls, size: Size) -> "_Batch":
        geometry = _encoder(size, precision="fp32").geometry
        generator = generator_for(1, "benchmark")
        chosen = torch.randperm(size.identities, generator=generator)[: size.identities_per_batch]
        return cls(
            images=_images(len(chosen), geometry, generator=generator),
            labels=chosen.repeat_interleave(IMAGES_PER_IDENTITY),
            texts=torch.randn(size.identities, geometry.projected_width, generator=generator),
        )


def _images(count: int, geometry: EncoderGeometry, *, generator: torch.Generator) -> Tensor:
    height, width = geometry.image_size.height, geometry.image_size.width
    patterns = torch.randn(count, 3, 8, 4, generator=generator)
    stretched = F.interpolate(patterns, size=(height, width), mode="bilinear")
    repeated = stretched.repeat_interleave(IMAGES_PER_IDENTITY, dim=0)
    return repeated + 0.3 * torch.randn(repeated.shape, generator=generator)


@dataclass(frozen=True)
class _Result:
    """What a first step came to."""

    loss: float
    gradients: dict[str, Tensor]

    def deviation_from(self, wanted: "_Result") -> dict[str, float]:
        got, expected = (
            torch.cat([result.gradients[name].flatten() for name in wanted.gradients])
            for result in (self, wanted)
        )
        return {
            "loss": abs(self.loss - wanted.loss) / abs(wanted.loss),
            "gradients": float((got - expected).norm() / expected.norm()),
            "cosine": float(F.cosine_similarity(got.double(), expected.double(), dim=0)),
        }


class _Ours:
    """What `FineTuning` does for a batch."""

    def __init__(self, size: Size, batch: _Batch, *, precision: str) -> None:
        self._recipe = FineTuningRecipe()
        self._encoder = _encoder(size, precision=precision)
        self._encoder.set_training(enabled=True)
        self._heads = _heads(self._encoder, size)
        self._texts = batch.texts
        self._parameters = [
            *self._heads.named_parameters(),
            *self._encoder.named_parameters(),
        ]
        self._optimizer = fine_tuning_optimizer(self._parameters, self._recipe)

    def step(self, batch: _Batch) -> Tensor:
        features = self._encoder.encode_images(batch.images)
        objective = fine_tuning_objective(
            features,
            self._heads(features),
            labels=batch.labels,
            text_features=self._texts,
            recipe=self._recipe,
        )
        self._optimizer.zero_grad()
        torch.autograd.backward(objective.total)
        self._optimizer.step()
        return objective.total.detach()

    def gradients(self) -> dict[str, Tensor]:
        return _gradients_of(dict(self._parameters))


def _gradients_of(parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    return {
        name: parameter.grad.clone()
        for name, parameter in parameters.items()
        if parameter.grad is not None
    }


def _plain(size: Size, batch: _Batch) -> PlainStageTwo:
    """Take an encoder of its own with the same weights."""
    encoder = _encoder(size, precision="fp32")
    return PlainStageTwo(
        encoder.image_tower, _heads(encoder, size), texts=batch.texts, recipe=FineTuningRecipe()
    )


def _encoder(size: Size, *, precision: str) -> TowerEncoder:
    encoder = create_clip_encoder(EncoderRequest(kind=size.kind, training_precision=precision))
    freeze_text(encoder)
    return encoder


def _heads(encoder: TowerEncoder, size: Size) -> ReidHeads:
    return ReidHeads(
        final_width=encoder.geometry.final_width,
        projected_width=encoder.geometry.projected_width,
        num_identities=size.identities,
        generator=generator_for(2, "benchmark"),
    ).train()
