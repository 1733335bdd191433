"""A step of stage 2 as the paper's code takes it, in float32 on a CPU.

All tokens run through the last block, all positions ask in the attention pool, images lie channel
by channel, and every parameter is an optimiser group of its own.

Letters: B batch, C identities, D width, E width of the shared space, P positions.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.plain.exported import attend_from_everywhere, run_block
from reid.adapters.encoders.image_tower import ImageTower
from reid.adapters.encoders.resnet import ModifiedResNet
from reid.adapters.encoders.vision_transformer import VisionTransformer
from reid.domain.training.heads import ReidHeads
from reid.domain.values.recipes import FineTuningRecipe

Levels = tuple[Tensor, Tensor, Tensor]
"""Penultimate, final and projected features."""


class PlainStageTwo:
    """A tower with heads and their optimiser."""

    def __init__(
        self, tower: ImageTower, heads: ReidHeads, *, texts: Tensor, recipe: FineTuningRecipe
    ) -> None:
        """Take a (C, E) text feature per identity."""
        self.tower, self.heads = tower.train(), heads.train()
        self._texts, self._recipe = texts, recipe
        trainable = {
            name: parameter
            for name, parameter in self.parameters().items()
            if parameter.requires_grad
        }
        self._optimizer = torch.optim.Adam(
            [_group(name, parameter, recipe) for name, parameter in trainable.items()]
        )

    def parameters(self) -> dict[str, nn.Parameter]:
        """Everything that may learn, by name."""
        return dict([*self.tower.named_parameters(), *self.heads.named_parameters()])

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Move all weights by one batch, and read the loss as the paper's code does."""
        loss = self.loss(images, labels)
        self._optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._optimizer.step()
        return loss.item()

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Sum the weighted terms."""
        recipe = self._recipe
        levels = describe(self.tower, images)
        final = self.heads.classifier(self.heads.bottleneck(levels[1]))
        projected = self.heads.classifier_proj(self.heads.bottleneck_proj(levels[2]))
        identity = _smoothed(final, labels) + _smoothed(projected, labels)
        triplet = sum((_triplet(level, labels) for level in levels), start=torch.zeros(()))
        text = _smoothed(levels[2] @ self._texts.T, labels)
        return (
            recipe.identity_weight * identity
            + recipe.triplet_weight * triplet
            + recipe.image_to_text_weight * text
        )


def describe(tower: ImageTower, images: Tensor) -> Levels:
    """Run a tower with everything that the paper's code computes."""
    visual = tower.image_encoder
    if isinstance(visual, ModifiedResNet):
        return _resnet(visual, images)
    assert isinstance(visual, VisionTransformer)
    return _vit(visual, images)


def _vit(visual: VisionTransformer, images: Tensor) -> Levels:
    patches = visual.conv1(images).flatten(2).transpose(1, 2)  # (B, P, D)
    token = visual.class_embedding.expand(len(images), 1, -1)
    tokens = visual.ln_pre(torch.cat([token, patches], dim=1) + visual.positional_embedding)
    *blocks, last = visual.transformer.blocks
    for block in blocks:
        tokens = run_block(block, tokens)
    final = visual.ln_post(run_block(last, tokens))  # (B, 1 + P, D)
    projected = final @ visual.proj
    return tokens[:, 0], final[:, 0], projected[:, 0]


def _resnet(visual: ModifiedResNet, images: Tensor) -> Levels:
    third = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))
    fourth = visual.layer4(third)
    pooled = attend_from_everywhere(visual.attnpool, fourth)  # (1 + P, B, E)
    return third.mean(dim=(2, 3)), fourth.mean(dim=(2, 3)), pooled[0]


def _smoothed(scores: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Build the targets on the host, as the paper's code does."""
    classes = scores.shape[1]
    one_hot = torch.zeros(scores.shape).scatter_(1, labels.unsqueeze(1).cpu(), 1).to(scores.device)
    targets = (1 - smoothing) * one_hot + smoothing / classes
    return -(targets * F.log_softmax(scores, dim=1)).mean(dim=0).sum()


def _triplet(features: Tensor, labels: Tensor, *, margin: float = 0.3) -> Tensor:
    count = len(features)
    norms = features.square().sum(dim=1, keepdim=True)
    squared = norms + norms.T - 2 * features @ features.T
    distances = squared.clamp(min=1e-12).sqrt()
    is_same = labels.expand(count, count).eq(labels.expand(count, count).T)
    positive = distances[is_same].view(count, -1).max(dim=1).values
    negative = distances[~is_same].view(count, -1).min(dim=1).values
    return F.relu(positive - negative + margin).mean()


def _group(name: str, parameter: nn.Parameter, recipe: FineTuningRecipe) -> dict[str, object]:
    factor = recipe.bias_learning_rate_factor if "bias" in name else 1.0
    return {
        "params": [parameter],
        "lr": factor * recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
    }
