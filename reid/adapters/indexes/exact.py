"""Exact nearest-neighbour search by one matrix product per block of queries.

A single query costs what it takes to read the gallery from memory. It is therefore looked up in a
copy of half the size first, rounded to float16, which leaves only the rows to compare exactly that
rounding could have put in the wrong place.

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
"""Galleries of fewer numbers fit the processor's cache: rounding them gains nothing."""

_SCREENED_SHARE = 16
"""One answer in so many gallery rows at most: screening for more would hardly thin them out."""

_CHECKED_SHARE = 8
"""One gallery row in so many is checked at most: for more, the product with all rows is faster."""

_PRODUCT_ERROR = 2.0**-10
"""Of a cosine of rounded vectors: rounded to float16 (2**-11), summed in float32 (far less)."""

_ERROR = struct.Struct("<d")
_ROUNDED_BYTES = 2
_KIND = "exact"


@dataclass(frozen=True, slots=True)
class _Screen:
    """The gallery rounded to float16, and by how much that moves a row at most."""

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
        if not 0 <= error < 1:  # no number neither
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

        By the inequality of Cauchy and Schwarz, rounding moves no cosine of unit vectors by more
        than m = |q - q'| + |x - x'| + the error of the product. The k-th largest true cosine
        is then at least c - m, where c is the k-th largest rounded one, and rows of such a true
        cosine have a rounded one of at least c - 2 m.

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

    def __init__(self) -> None:
        """Start empty."""
        self._gallery: Tensor | None = None
        self._screen: _Screen | None = None

    @property
    def is_exact(self) -> bool:
        """True."""
        return True

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

        Distances that round to the same float32 are tied and go by row number, across the last
        answer's boundary, too.
        """
        gallery = self._require_gallery()
        check_search(queries, k=k, width=gallery.shape[1])
        num_answers = min(k, len(gallery))
        if len(queries) == 1 and _is_worth_screening(gallery, num_answers):
            query = queries.detach().to(gallery)
            rows = self._require_screen(gallery).candidates(query, num_answers)  # (C,)
            # Too few are found where damage has made numbers of the copy none.
            if num_answers <= len(rows) <= len(gallery) // _CHECKED_SHARE:
                return rescore(rows[None], queries=query, gallery=gallery, k=num_answers)
        return find_nearest(queries, gallery, k=k)

    def save(self, path: str) -> None:
        """Write the rounded copy, which takes longer to make than to look a query up in.

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
        """Map what `save` wrote; see the port. The gallery was checked when it was built.

        Raises:
            VectorIndexError: The file cannot be read, or does not go with the rows.
        """
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
