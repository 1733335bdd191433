"""A step of stage 1: text pass, loss, gradient and Adam, for a batch of random images.

Letters: B batch, N images, C identities, E width of the shared space.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.harness import Row, Scale, compare
from benchmarks.plain.stage_one import PlainStageOne
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.text_encoder import ClipTextEncoder, TextTower
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.seeding import generator_for
from reid.domain.services.freezing import freeze_text
from reid.domain.training.objectives import prompt_objective
from reid.domain.training.optimizers import prompt_optimizer
from reid.domain.training.prompts import PromptLearner
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.recipes import PromptLearningRecipe

GOAL = 15.0
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Size:
    """How much work."""

    kind: str
    images: int
    identities: int
    batch: int
    runs: int


FULL = Size(kind="vit-b16", images=12936, identities=751, batch=64, runs=5)
USUAL = Size(kind="vit-b16", images=12936, identities=751, batch=64, runs=2)
QUICK = Size(kind="vit-tiny", images=200, identities=12, batch=16, runs=1)


def rows(scale: Scale) -> Iterator[Row]:
    """Time one step both ways, from the same learned tokens."""
    size = scale.choose(QUICK, USUAL, FULL)
    generator = generator_for(1, "benchmark")
    labels = torch.randint(size.identities, (size.images,), generator=generator)
    labels = labels[torch.randperm(size.images, generator=generator)[: size.batch]]  # (B,)
    encoder = create_clip_encoder(EncoderRequest(kind=size.kind))
    images = torch.randn(size.batch, encoder.geometry.projected_width, generator=generator)
    ours = _Ours(encoder, size)
    plain = _plain(size, context=ours.learner.cls_ctx.detach())
    deviation = _deviation(ours, plain, images=images, labels=labels)
    timing = compare(
        lambda: ours.step(images, labels), lambda: plain.step(images, labels), runs=size.runs
    )
    worst = max(deviation.values())
    yield Row(
        part=f"stage 1 step, {size.kind}, batch {size.batch}",
        ours=f"frozen weights, 7 tokens of {len(set(labels.tolist()))} distinct prompts "
        "after a shared prefix, end token only",
        plain="77 tokens per image, gradients to all text weights",
        goal=f">= {GOAL:g}x",
        is_met=timing.ratio >= GOAL and worst <= TOLERANCE,
        exactness=f"features {deviation['features']:.0e}, gradient {deviation['gradient']:.0e}"
        " (relative)",
        details={f"{name}_deviation": value for name, value in deviation.items()},
        **asdict(timing),
    )


class _Ours:
    """What `PromptLearning` does for a batch."""

    def __init__(self, encoder: TowerEncoder, size: Size) -> None:
        recipe = PromptLearningRecipe()
        freeze_text(encoder, freezes_images=True)
        self._text = _text_of(encoder)
        self.learner = PromptLearner(
            self._text.embed_template(
                recipe.template, num_context_tokens=recipe.num_context_tokens
            ),
            num_identities=size.identities,
            num_context_tokens=recipe.num_context_tokens,
            generator=generator_for(2, "benchmark"),
        )
        self._optimizer = prompt_optimizer(self.learner, recipe)

    def texts(self, labels: Tensor) -> Tensor:
        distinct, row_of = torch.unique(labels, return_inverse=True)
        described = self._text.encode_prompts(self.learner(distinct), prefix=self.learner.prefix)
        return F.embedding(row_of, described)

    def step(self, images: Tensor, labels: Tensor) -> None:
        objective = prompt_objective(images, self.texts(labels), labels=labels)
        self._optimizer.zero_grad()
        torch.autograd.backward(objective.total)
        self._optimizer.step()


def _text_of(encoder: TowerEncoder) -> ClipTextEncoder:
    assert encoder.text is not None  # of every built-in kind
    return encoder.text


def _plain(size: Size, *, context: Tensor) -> PlainStageOne:
    """Take an encoder of its own, with the same weights, whose text tower is not frozen."""
    text, recipe = (
        _text_of(create_clip_encoder(EncoderRequest(kind=size.kind))),
        PromptLearningRecipe(),
    )
    embedding = text.embed_template(recipe.template, num_context_tokens=recipe.num_context_tokens)
    assert isinstance(text.tower, TextTower)  # CLIP's own
    return PlainStageOne(text.tower, embedding, context=context)


def _deviation(
    ours: _Ours, plain: PlainStageOne, *, images: Tensor, labels: Tensor
) -> dict[str, float]:
    """Compare text features and the gradient of the learned tokens."""
    wanted, got = plain.texts(labels), ours.texts(labels)
    totals = (prompt_objective(images, texts, labels=labels).total for texts in (wanted, got))
    gradients = [
        torch.autograd.grad(total, context)[0]
        for total, context in zip(totals, (plain.context, ours.learner.cls_ctx), strict=True)
    ]
    return {
        "features": _relative(got, wanted),
        "gradient": _relative(gradients[1], gradients[0]),
    }


def _relative(got: Tensor, wanted: Tensor) -> float:
    return float(((got - wanted).abs().max() / wanted.abs().max()).detach())
