"""A vector index in a few lines of numpy, with a forgetful variant for services."""

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import VectorIndexError
from reid.domain.values.features import Neighbours


class FakeIndex:
    """Search by brute force.

    Args:
        is_exact: What it says of itself.
        recall: What it says of itself once built.
        num_found: Rows found per query at most; the rest is -1 at infinity, as of an
            approximate index.
    """

    def __init__(
        self, *, is_exact: bool = True, recall: float = 1.0, num_found: int | None = None
    ) -> None:
        self._is_exact = is_exact
        self._recall = recall
        self._num_found = num_found
        self.gallery: Tensor | None = None
        self.num_builds = 0
        self.asked: list[tuple[int, int]] = []
        """Queries and k of every search."""

    @property
    def is_exact(self) -> bool:
        return self._is_exact

    @property
    def recall(self) -> float:
        self._require_gallery()
        return self._recall

    def build(self, gallery: Tensor) -> None:
        norms = gallery.norm(dim=1)
        if len(gallery) == 0 or not torch.allclose(norms, torch.ones_like(norms), atol=1e-3):
            raise VectorIndexError("the gallery needs rows of unit norm")
        self.gallery = gallery
        self.num_builds += 1

    def search(self, queries: Tensor, k: int) -> Neighbours:
        gallery = self._require_gallery()
        if k < 1 or queries.shape[1] != gallery.shape[1]:
            raise VectorIndexError(f"cannot find {k} rows for queries {tuple(queries.shape)}")
        self.asked.append((len(queries), k))
        found = 1 - (queries @ gallery.T).cpu().numpy().astype(np.float32)
        rows = np.argsort(found, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(found, rows, axis=1)
        if self._num_found is not None:
            rows[:, self._num_found :] = -1
            found[:, self._num_found :] = np.inf
        return Neighbours(indices=torch.from_numpy(rows), distances=torch.from_numpy(found))

    def _require_gallery(self) -> Tensor:
        if self.gallery is None:
            raise VectorIndexError("nothing was indexed yet")
        return self.gallery
