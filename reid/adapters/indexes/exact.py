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
from reid.domain.values.ranking import Neighbours

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


@dataclass(frozen=True, slots=True)
class _Screen:
    """The gallery rounded to float16, and the largest rounding error of a row."""

    rows: Tensor
    """(G, D) float16."""

    error: float
    """Largest L2 norm of a row minus its rounded copy."""

    @classmethod
    def of(cls, gallery: Tensor) -> "_Screen":
        """Round a gallery, a few rows at a time."""
        rows = gallery.half()
        parts = zip(torch.split(gallery, 1024), torch.split(rows, 1024), strict=True)
        errors = [float((part - rounded.float()).norm(dim=1).amax()) for part, rounded in parts]
        return cls(rows=rows, error=max(errors))

    @classmethod
    def read(cls, path: Path, *, shape: torch.Size) -> "_Screen":
        """Map what `write` wrote into memory."""
        num_bytes = shape.numel() * _ROUNDED_BYTES
        content = map_file(path, num_bytes + _ERROR.size)
        (error,) = _ERROR.unpack(content[num_bytes:].tobytes())
        if not 0 <= error < 1:  # or NaN
            raise ValueError(f"its rows were rounded by {error}")
        rows = content[:num_bytes].view("<f2").reshape(shape)
        return cls(rows=torch.from_numpy(rows), error=error)

    def write(self, path: Path) -> None:
        """Write rows, then the error."""
        with path.open("wb") as file:
            for part in torch.split(self.rows.cpu(), 1024):
                file.write(part.numpy().astype("<f2", copy=False).data)
            file.write(_ERROR.pack(self.error))

    def candidates(self, query: Tensor, k: int) -> Tensor:
        """Find all rows that may be among the k nearest.

        By the Cauchy-Schwarz inequality, rounding changes a cosine of unit vectors by at most m =
        |q - q'| + |x - x'| + the error of the product. If c is the k-th largest rounded cosine, the
        k-th largest true cosine is at least c - m, and rows of such a true cosine have a rounded
        one of at least c - 2 m.

        Args:
            query: (1, D) float32.
            k: At most G.

        Returns:
            (C,) int64 gallery rows, ascending, C at least k.
        """
        rounded = query.half()  # (1, D)
        cosines = F.linear(rounded, self.rows)[0].float()  # (G,)
        margin = float((query - rounded.float()).norm()) + self.error + _PRODUCT_ERROR
        least = cosines.topk(k).values[-1] - 2 * margin
        return (cosines >= least).nonzero()[:, 0]


@dataclass(slots=True)
class _Rows:
    """A gallery, and its rounded copy once it is needed."""

    gallery: Tensor
    """(G, D), on the device where it is searched."""

    screen: _Screen | None = None

    def require_screen(self) -> _Screen:
        if self.screen is None:
            self.screen = _Screen.of(self.gallery)
        return self.screen

    def are_worth_screening(self, k: int) -> bool:
        return (
            self.gallery.device.type == "cpu"
            and self.gallery.numel() >= _SCREENED_ENTRIES
            and k * _SCREENED_SHARE <= len(self.gallery)
        )


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
        """Rank gallery rows.

        Distances that round to the same float32 are tied and ordered by row number, also across the
        boundary of the last answer.
        """
        gallery = built.structure.gallery
        if len(queries) == 1 and built.structure.are_worth_screening(k):
            query = queries.to(gallery)
            rows = built.structure.require_screen().candidates(query, k)  # (C,)
            # Too few are found where damage has put NaN into the copy.
            if k <= len(rows) <= len(gallery) // _CHECKED_SHARE:
                return rescore(rows[None], queries=query, gallery=gallery, k=k)
        return find_nearest(queries, gallery, k=k)

    def _write(self, built: Built[_Rows], part: Path) -> IndexFacts:
        built.structure.require_screen().write(part)
        return append_facts(part, built.facts)

    def _read(self, path: Path, gallery: Tensor) -> Built[_Rows]:
        facts = read_facts(path, kind=self.kind, gallery=gallery)
        return Built(_Rows(gallery, _Screen.read(path, shape=gallery.shape)), facts)
