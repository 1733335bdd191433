"""Vectors to search among, and how well an index finds them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.domain.ranking.reranking import reranked_distances
from reid.domain.values.recipes import RerankingRecipe
from reid.ports.vector_index import VectorIndex


def unit_vectors(num_rows: int, *, width: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(num_rows, width, generator=generator), dim=1)


def share_found(index: VectorIndex, gallery: Tensor) -> float:
    """Recompute the share of rows whose nearest other row is found, by the plain definition."""
    cosines = gallery.double() @ gallery.double().T
    cosines.fill_diagonal_(-2)
    answers = index.search(gallery, 2).indices
    others = [next(row for row in rows if row != own) for own, rows in enumerate(answers.tolist())]
    return float((torch.tensor(others) == cosines.argmax(dim=1)).double().mean())


def rerank(queries: Tensor, gallery: Tensor, recipe: RerankingRecipe) -> Tensor:
    """Compute the re-ranked distances of all queries at once: (Q, G)."""
    blocks = list(reranked_distances(queries, gallery, recipe=recipe))
    return torch.cat([torch.empty((0, len(gallery))), *blocks])
