"""Losses of both training stages.

Letters: B batch, C identities, D width.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Maps features, (B, D) float, not normalised, and labels, (B,) int64, to a () float,
differentiable in the features: what a factory of the group `reid.losses` returns."""

_SMALLEST_SQUARED_DISTANCE = 1e-12  # keeps the root's gradient finite where images coincide


def supervised_contrastive_loss(anchors: Tensor, others: Tensor, labels: Tensor) -> Tensor:
    """Pull each anchor to those of its label among the others, away from the rest.

    Li et al. 2023, arXiv:2211.13977, eq. 3 (image to text) and eq. 4 (text to image), after Khosla
    et al. 2020, arXiv:2004.11362, eq. 2. Similarity is the plain scalar product: no normalisation
    and temperature 1, as in CLIP-ReID's code. All positives of an anchor are averaged.

    Args:
        anchors: (B, D) float.
        others: (B, D) float; row i has the same label as row i of `anchors`.
        labels: (B,) int64.

    Returns:
        () float, mean over the B anchors, at least 0, differentiable in both inputs.
    """
    log_shares = F.log_softmax(anchors @ others.T, dim=1)  # (B, B)
    is_positive = (labels[:, None] == labels[None, :]).to(log_shares.dtype)  # (B, B)
    weights = is_positive / is_positive.sum(dim=1, keepdim=True)  # (B, B), rows sum to 1
    return -(weights * log_shares).sum(dim=1).mean()


def identity_loss(scores: Tensor, labels: Tensor, *, smoothing: float = 0.1) -> Tensor:
    """Classify images by identity, with smoothed targets.

    Li et al. 2023, arXiv:2211.13977, eq. 5. The target is 1 - smoothing on the true identity plus
    smoothing / C on every identity, the true one included.

    Args:
        scores: (B, C) float logits.
        labels: (B,) int64 in 0..C-1.
        smoothing: Share of the target spread over all identities.

    Returns:
        () float, mean over the batch, differentiable in `scores`.
    """
    return F.cross_entropy(scores, labels, label_smoothing=smoothing)


def image_to_text_loss(
    projected: Tensor, text_features: Tensor, labels: Tensor, *, smoothing: float = 0.1
) -> Tensor:
    """Classify images by the identities' prompts.

    Li et al. 2023, arXiv:2211.13977, eq. 7 (L_i2tce). No normalisation and temperature 1.

    Args:
        projected: (B, D) float, the images' projected features.
        text_features: (C, D) float, row c the prompt of identity c.
        labels: (B,) int64 in 0..C-1.
        smoothing: Share of the target spread over all identities.

    Returns:
        () float, mean over the batch, differentiable in both features.
    """
    return identity_loss(projected @ text_features.T, labels, smoothing=smoothing)


def descriptor_distillation_loss(mapped: Tensor, targets: Tensor) -> Tensor:
    """Turn descriptors towards a teacher's: 1 - cos, after a linear map to the teacher's width.

    Args:
        mapped: (B, D) float, the student's descriptors after the map.
        targets: (B, D) float, the teacher's descriptors of the same images, constant.

    Returns:
        () float, mean over the batch, in 0..2, differentiable in `mapped`.
    """
    return (1 - F.cosine_similarity(mapped, targets, dim=1)).mean()


def similarity_distillation_loss(
    descriptors: Tensor, targets: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Give each image the neighbours in the batch that a teacher gives it.

    KL(teacher || student) between softmax distributions of the cosine similarities of each image to
    the others, after Tung and Mori 2019, arXiv:1907.09682, eq. 4, and Hinton et al. 2015,
    arXiv:1503.02531.

    Args:
        descriptors: (B, D1) float, the student's, B at least 3.
        targets: (B, D2) float, the teacher's of the same images, constant.
        temperature: Divides similarities; a smaller one looks at nearer neighbours only.

    Returns:
        () float, mean over the batch, at least 0, differentiable in `descriptors`.
    """
    is_self = torch.eye(len(targets), dtype=torch.bool, device=targets.device)

    def log_shares(vectors: Tensor) -> Tensor:
        unit = F.normalize(vectors, dim=1)
        logits = (unit @ unit.T / temperature)[~is_self].view(len(unit), -1)  # (B, B - 1)
        return F.log_softmax(logits, dim=1)

    return F.kl_div(
        log_shares(descriptors), log_shares(targets), log_target=True, reduction="batchmean"
    )


def batch_hard_triplet_loss(features: Tensor, labels: Tensor, *, margin: float = 0.3) -> Tensor:
    """Penalise the hardest positive and the hardest negative of every anchor.

    Hermans et al. 2017, arXiv:1703.07737, eq. 5; Li et al. 2023, arXiv:2211.13977, eq. 6.

    Args:
        features: (B, D) float, not normalised.
        labels: (B,) int64, at least two different ones.
        margin: Euclidean distance wanted between hardest positive and hardest negative.

    Returns:
        () float, mean over the B anchors, at least 0, differentiable in `features`.

    Raises:
        ValueError: All labels are the same, so that no anchor has a negative; checked for labels on
            the CPU only.
    """
    positive, negative = hardest_distances(features, labels)
    return F.relu(positive - negative + margin).mean()


def hardest_distances(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Measure how far each anchor is from its farthest positive and its nearest negative.

    An anchor counts among its own positives, so one without a partner has distance 1e-6. Pairs are
    chosen by the expansion |x|^2 + |y|^2 - 2xy. Differs from CLIP-ReID: the chosen pairs are then
    measured by their difference, because the expansion rounds the distance of equal images (the
    sampler repeats images) to something that is neither 0 nor harmless in the gradient.

    Returns:
        Two (B,) float Euclidean distances, differentiable in the (B, D) features.

    Raises:
        ValueError: As `batch_hard_triplet_loss`.
    """
    is_same = labels[:, None] == labels[None, :]  # (B, B)
    # Reading another device's memory would delay every step.
    if labels.device.type == "cpu" and is_same.all():
        raise ValueError(
            f"all {len(labels)} images of the batch have the same label, so there is no negative;"
            " use PK batches of at least two identities"
        )
    constant = features.detach()
    norms = constant.square().sum(dim=1)  # (B,)
    squared = norms[:, None] + norms[None, :] - 2 * constant @ constant.T  # (B, B)
    farthest = squared.masked_fill(~is_same, -torch.inf).argmax(dim=1)  # (B,)
    nearest = squared.masked_fill(is_same, torch.inf).argmin(dim=1)  # (B,)
    return _distances_to(farthest, features), _distances_to(nearest, features)


def _distances_to(partners: Tensor, features: Tensor) -> Tensor:
    # F.embedding: the gradient of plain indexing is summed by several threads in any order, and
    # two runs would differ in the last bits.
    differences = features - F.embedding(partners, features)  # (B, D)
    return differences.square().sum(dim=1).clamp(min=_SMALLEST_SQUARED_DISTANCE).sqrt()
