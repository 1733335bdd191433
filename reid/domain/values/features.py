"""Vectors that describe images, and the nearest of them.

Letters: B batch, N images, D width, Q queries, K answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """An image encoder's features of a batch, on three levels, not normalised.

    CLIP-ReID, section 3.3: the triplet loss acts on all three, identity losses on the last two.
    A level that an encoder does not have is (B, 0); every encoder has the final one.
    """

    penultimate: Tensor  # (B, D0): RN50 pooled layer 3; ViT class token of the last but one block
    final: Tensor  # (B, D1): RN50 pooled layer 4; ViT class token after the last LayerNorm
    projected: Tensor  # (B, D2): in the space shared with the text encoder

    def levels(self) -> tuple[Tensor, ...]:
        """List the levels that the encoder has, in the network's order."""
        levels = (self.penultimate, self.final, self.projected)
        return tuple(level for level in levels if level.shape[1])

    def embedding(self) -> Tensor:
        """Concatenate final and projected features: (B, D1 + D2), not normalised."""
        return torch.cat([self.final, self.projected], dim=1)


@dataclass(frozen=True, slots=True)
class EmbeddingSet:
    """Embedded images with their identities and cameras."""

    vectors: Tensor  # (N, D) float32, rows of unit L2 norm
    pids: Tensor  # (N,) int64
    camids: Tensor  # (N,) int64

    def __post_init__(self) -> None:
        """Refuse sets whose parts disagree."""
        if self.vectors.ndim != 2:
            raise ValueError(f"vectors must be (N, D), got {tuple(self.vectors.shape)}")
        if not len(self.vectors) == len(self.pids) == len(self.camids):
            raise ValueError(
                f"{len(self.vectors)} vectors, {len(self.pids)} pids, {len(self.camids)} camids"
            )

    def __len__(self) -> int:
        """Count the images."""
        return len(self.vectors)

    def part(self, start: int, stop: int) -> "EmbeddingSet":
        """Take the images from `start` up to `stop`; the vectors are not copied."""
        rows = slice(start, stop)
        return EmbeddingSet(self.vectors[rows], self.pids[rows], self.camids[rows])


@dataclass(frozen=True, slots=True)
class PromptEmbedding:
    """Token embeddings on both sides of the learned tokens.

    CLIP-ReID, section 3.2: "A photo of a [X]1 [X]2 [X]3 ... [X]M person."
    """

    prefix: Tensor  # (A, D) float32: start token, "a photo of a"
    suffix: Tensor  # (Z, D) float32: "person", ".", end token


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The gallery images nearest to each query, nearest first."""

    indices: Tensor
    """(Q, K) int64 gallery rows, or keys where a gallery answers; -1 where none was found."""
    distances: Tensor
    """(Q, K) float32 cosine distances 1 - cos, infinite where none was found; ascending along K
    unless the answers were re-ranked."""

    def __post_init__(self) -> None:
        """Refuse answers whose parts disagree."""
        if self.indices.ndim != 2 or self.indices.shape != self.distances.shape:
            raise ValueError(
                f"indices {tuple(self.indices.shape)} and distances "
                f"{tuple(self.distances.shape)} must both be (Q, K)"
            )
