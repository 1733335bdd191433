"""Exact nearest-neighbour search by one matrix product per block of queries.

The cost of a single query is that of reading the gallery from memory. It is therefore first
compared with a float16 copy of half the size, and then exactly with the few rows that rounding
could have misplaced.

Letters: G gallery, Q queries, D width, C candidates, K answers.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.adapters.indexes.index_files import IndexFacts, append_facts, map_file, read_facts
from reid.adapters.indexes.stored import Built, StoredIndex
from reid.domain.ranking.distances import find_nearest, rescore
from reid.domain.values.features import Neighbours

_SCREENED_ENTRIES = 2**22
"""Smaller galleries fit the processor's cache, so that rounding gains nothing."""

_SCREENED_SHARE = 16
"""Screening needs this many gallery rows per answer: with fewer it would exclude hardly any."""

_CHECKED_SHARE = 8
"""At most one gallery row in so many is checked: beyond, the product with all rows is faster."""

_PRODUCT_ERROR = 2.0**-10
"""Error of a rounded cosine: rounded to float16 (2**-11), summed in float32 (far less)."""

_ERROR = struct.Struct("<d")
_ROUNDED_BYTES = 2


@dataclass(slots=True)
class _Rows:
    """A gallery, and its copy rounded to float16 once it is needed."""

    gallery: Tensor  # (G, D) float32, on the device where it is searched
    rounded: Tensor | None = None  # (G, D) float16
    error: float = 0.0  # largest L2 norm of a row minus its rounded copy

    def require_rounded(self) -> Tensor:
        """Round the gallery, a few rows at a time."""
        if self.rounded is None:
            rounded = self.gallery.half()
            parts = zip(torch.split(self.gallery, 1024), torch.split(rounded, 1024), strict=True)
            self.error = max(
                float((part - copy.float()).norm(dim=1).amax()) for part, copy in parts
            )
            self.rounded = rounded
        return self.rounded

    def are_worth_screening(self, k: int) -> bool:
        return (
            self.gallery.device.type == "cpu"
            and self.gallery.numel() >= _SCREENED_ENTRIES
            and k * _SCREENED_SHARE <= len(self.gallery)
        )

    def candidates(self, query: Tensor, k: int) -> Tensor:
        """Find all rows that may be among the k nearest.

        By the Cauchy-Schwarz inequality, rounding changes a cosine of unit vectors by at most m =
        |q - q'| + |x - x'| + the error of the product. If c is the k-th largest rounded cosine, the
        k-th largest true cosine is at least c - m, and rows of such a true cosine have a rounded
        one of at least c - 2 m.

        Returns (C,) int64 gallery rows, ascending, C at least k.
        """
        rounded = query.half()  # (1, D)
        cosines = F.linear(rounded, self.require_rounded())[0].float()  # (G,)
        margin = float((query - rounded.float()).norm()) + self.error + _PRODUCT_ERROR
        least = cosines.topk(k).values[-1] - 2 * margin
        return (cosines >= least).nonzero()[:, 0]


class ExactIndex(StoredIndex[_Rows]):
    """Compare every query with every gallery row, on the gallery's device.

    The gallery is kept, not copied. The first single query adds a rounded copy, half as large,
    which takes longer to compute than a query and is therefore what `save` writes.
    """

    is_exact = True
    kind = "exact"

    def _build(self, gallery: Tensor) -> Built[_Rows]:
        return Built(_Rows(gallery), IndexFacts.of(self.kind, gallery))

    def _search(self, built: Built[_Rows], queries: Tensor, *, k: int) -> Neighbours:
        rows = built.structure
        if len(queries) == 1 and rows.are_worth_screening(k):
            query = queries.to(rows.gallery)
            found = rows.candidates(query, k)  # (C,)
            # Too few are found where damage has put NaN into the copy.
            if k <= len(found) <= len(rows.gallery) // _CHECKED_SHARE:
                return rescore(found[None], queries=query, gallery=rows.gallery, k=k)
        return find_nearest(queries, rows.gallery, k=k)

    def _write(self, built: Built[_Rows], part: Path) -> IndexFacts:
        """Write the rounded rows, then their error."""
        with part.open("wb") as file:
            for rows in torch.split(built.structure.require_rounded().cpu(), 1024):
                file.write(rows.numpy().astype("<f2", copy=False).data)
            file.write(_ERROR.pack(built.structure.error))
        return append_facts(part, built.facts)

    def _read(self, path: Path, gallery: Tensor) -> Built[_Rows]:
        facts = read_facts(path, kind=self.kind, gallery=gallery)
        num_bytes = gallery.numel() * _ROUNDED_BYTES
        content = map_file(path, num_bytes + _ERROR.size)
        (error,) = _ERROR.unpack(content[num_bytes:].tobytes())
        if not 0 <= error < 1:  # or NaN
            raise ValueError(f"its rows were rounded by {error}")
        rounded = torch.from_numpy(content[:num_bytes].view("<f2").reshape(gallery.shape))
        return Built(_Rows(gallery, rounded, error), facts)
