"""What databases of vectors return, as tensors.

Letters: Q queries, D width, K answers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.values.ranking import Neighbours


def vectors_by_key(found: Mapping[int, np.ndarray], keys: Sequence[int], *, place: str) -> Tensor:
    """Stack (D,) vectors in the order of N keys: (N, D).

    Raises:
        GalleryError: One is missing, or of another width than most.
    """
    missing = next((key for key in keys if key not in found), None)
    if missing is not None:
        raise GalleryError(f"{place} is damaged: image {missing} has no vector; remove it")
    if not keys:
        return torch.empty((0, 0))
    widths = [len(found[key]) for key in keys]
    usual = max(set(widths), key=widths.count)
    for key, width in zip(keys, widths, strict=True):
        if width != usual:
            raise GalleryError(
                f"{place} is damaged: the vector of image {key} has width {width}, others have "
                f"{usual}: remove the image"
            )
    return torch.from_numpy(np.stack([found[key] for key in keys]))


def neighbours_of(answers: Sequence[Sequence[tuple[int, float]]], *, k: int) -> Neighbours:
    """Convert keys and distances per query, at most `k` of them: (Q, K), padded with -1."""
    indices = torch.full((len(answers), k), -1)  # (Q, K)
    distances = torch.full((len(answers), k), torch.inf)  # (Q, K)
    for row, found in enumerate(answers):
        indices[row, : len(found)] = torch.tensor([key for key, _ in found], dtype=torch.int64)
        distances[row, : len(found)] = torch.tensor([away for _, away in found])
    return Neighbours(indices=indices, distances=distances)
