"""Exact nearest-neighbour search by one matrix product per block of queries.

The cost of a single query is that of reading the gallery from memory. It is therefore first
compared with a float16 copy of half the size, and then exactly with the few rows that rounding
could have misplaced.

Letters: G gallery, Q queries, D width, K answers.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from reid.adapters.indexes.index_files import (
    IndexFacts,
    append_facts,
    damaged,
    fingerprint_of,
    read_facts,
    replacing,
    require_fit,
)
from reid.adapters.indexes.mapped_files import map_file
from reid.adapters.indexes.rescoring import rescore
from reid.adapters.indexes.vector_checks import check_gallery, check_search, not_built
from reid.domain.ranking.distances import find_nearest
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
_KIND = "exact"


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
    def read(cls, path: str, *, shape: torch.Size) -> "_Screen":
        """Map what `write` wrote into memory."""
        num_bytes = shape.numel() * _ROUNDED_BYTES
        content = map_file(Path(path), num_bytes + _ERROR.size)
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


class ExactIndex:
    """Compare every query with every gallery row, on the gallery's device."""

    is_exact = True

    def __init__(self) -> None:
        """Start empty."""
        self._gallery: Tensor | None = None
        self._screen: _Screen | None = None

    @property
    def recall(self) -> float:
        """1.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        self._require_gallery()
        return 1.0

    def build(self, gallery: Tensor) -> None:
        """Replace the content; see the port. The gallery is kept, not copied.

        The first single query adds a rounded copy, half as large.
        """
        check_gallery(gallery)
        self._gallery = gallery.detach()
        self._screen = None

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank gallery rows; see the port.

        Distances that round to the same float32 are tied and ordered by row number, also across the
        boundary of the last answer.
        """
        gallery = self._require_gallery()
        check_search(queries, k=k, width=gallery.shape[1])
        num_answers = min(k, len(gallery))
        if len(queries) == 1 and _is_worth_screening(gallery, num_answers):
            query = queries.detach().to(gallery)
            rows = self._require_screen(gallery).candidates(query, num_answers)  # (C,)
            # Too few are found where damage has put NaN into the copy.
            if num_answers <= len(rows) <= len(gallery) // _CHECKED_SHARE:
                return rescore(rows[None], queries=query, gallery=gallery, k=num_answers)
        return find_nearest(queries, gallery, k=k)

    def save(self, path: str) -> None:
        """Write the rounded copy, which takes longer to compute than a query.

        Raises:
            VectorIndexError: Nothing was built yet, or the file cannot be written.
        """
        gallery = self._require_gallery()
        with replacing(path) as part:
            self._require_screen(gallery).write(part)
            facts = IndexFacts(
                kind=_KIND,
                num_rows=len(gallery),
                width=gallery.shape[1],
                fingerprint=fingerprint_of(gallery),
            )
            append_facts(part, facts)

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Map what `save` wrote; see the port. The gallery was checked when it was built."""
        facts = read_facts(path)
        require_fit(facts, kind=_KIND, gallery=gallery, path=path)
        try:
            screen = _Screen.read(path, shape=gallery.shape)
        except (OSError, ValueError, struct.error) as error:
            raise damaged(path, error) from error
        self._gallery, self._screen = gallery.detach(), screen

    def _require_gallery(self) -> Tensor:
        if self._gallery is None:
            raise not_built()
        return self._gallery

    def _require_screen(self, gallery: Tensor) -> _Screen:
        if self._screen is None:
            self._screen = _Screen.of(gallery)
        return self._screen


def _is_worth_screening(gallery: Tensor, k: int) -> bool:
    return (
        gallery.device.type == "cpu"
        and gallery.numel() >= _SCREENED_ENTRIES
        and k * _SCREENED_SHARE <= len(gallery)
    )
