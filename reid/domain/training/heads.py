"""Heads that turn image features into identity scores while training.

Letters: B batch, C identities, D1 final width, D2 projected width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reid.domain.values.features import ImageFeatures


@dataclass(frozen=True, slots=True)
class IdentityScores:
    """Logits from the final and from the projected feature: (B, C) float32 each."""

    final: Tensor
    projected: Tensor | None  # None where the encoder has no such feature
    mapped: Tensor | None = None  # (B, T) descriptors in a teacher's space; None without one


HEAD_NAMES = ("classifier", "bottleneck", "teacher_map")
"""Begin the names of the heads' weights; all others are the image tower's."""


class ReidHeads(nn.Module):
    """A BNNeck and a bias-free classifier each for final and projected features.

    Luo et al. 2019, arXiv:1903.07071, section 3.5. Submodules are named as in CLIP-ReID's released
    checkpoints.
    """

    def __init__(
        self,
        *,
        final_width: int,
        projected_width: int,
        num_identities: int,
        generator: torch.Generator,
        teacher_width: int = 0,
    ) -> None:
        """Draw classifiers from N(0, 0.001^2); BNNecks start as the identity, their bias stays 0.

        A projected width of 0 leaves out the second pair, a teacher's width of 0 the linear map of
        descriptors to a teacher's, which is drawn last, from N(0, 1 / width).

        Raises:
            ValueError: Fewer than two identities.
        """
        super().__init__()
        if num_identities < 2:
            raise ValueError(f"a classifier needs at least 2 identities, got {num_identities}")
        self.classifier = _Classifier(final_width, num_identities, generator=generator)
        self.has_projected = projected_width > 0
        if self.has_projected:
            self.classifier_proj = _Classifier(projected_width, num_identities, generator=generator)
        self.teacher_map: nn.Linear | None = None
        if teacher_width > 0:
            self.teacher_map = _map(final_width + projected_width, teacher_width, generator)
        self.bottleneck = _bnneck(final_width)
        if self.has_projected:
            self.bottleneck_proj = _bnneck(projected_width)

    def forward(self, features: ImageFeatures) -> IdentityScores:
        """Score B images; in training mode with the batch's own statistics, which needs B >= 2."""
        projected = None
        if self.has_projected:
            projected = self.classifier_proj(self.bottleneck_proj(features.projected))
        teacher_map = self.teacher_map
        return IdentityScores(
            final=self.classifier(self.bottleneck(features.final)),
            projected=projected,
            mapped=None if teacher_map is None else teacher_map(features.embedding()),
        )


def _map(width: int, out_width: int, generator: torch.Generator) -> nn.Linear:
    # Without storage at first: Linear would draw from global randomness.
    layer = nn.Linear(width, out_width, bias=False, device="meta").to_empty(device="cpu")
    nn.init.normal_(layer.weight, std=width**-0.5, generator=generator)
    return layer


def _bnneck(width: int) -> nn.BatchNorm1d:
    neck = nn.BatchNorm1d(width)
    neck.bias.requires_grad = False
    return neck


class _Classifier(nn.Linear):
    def __init__(self, width: int, num_identities: int, *, generator: torch.Generator) -> None:
        super().__init__(width, num_identities, bias=False)
        nn.init.normal_(self.weight, std=0.001, generator=generator)

    def reset_parameters(self) -> None:
        """Do nothing: Linear would draw the weights from global randomness."""
