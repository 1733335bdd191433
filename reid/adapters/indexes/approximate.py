"""The common part of approximate indexes, which search as much as a wanted recall takes.

Letters: G gallery, Q queries, D width, K answers, P probes.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from reid.adapters.indexes.index_files import IndexFacts
from reid.adapters.indexes.stored import Built, S, StoredIndex
from reid.domain.errors import VectorIndexError
from reid.domain.ranking.distances import find_nearest, is_as_near
from reid.domain.values.features import Neighbours

MAXIMUM_PROBES = 1000  # the standard error of a recall of .95 is then .007
_STEP = 1.5  # factor to the next effort tried, which bounds the excess effort
_PROBE_ANSWERS = 2  # the probe itself and another row


class ApproximateIndex(StoredIndex[S]):
    """Searches a structure with the least effort that reaches a wanted recall."""

    is_exact = False

    name: ClassVar[str]  # name in messages
    effort_name: ClassVar[str]  # name of the setting

    def __init__(self, *, recall: float, effort: int | None) -> None:
        """Start empty.

        `recall` is the wanted share of gallery rows whose nearest other row is found; `effort` is
        how much is looked at per query, whatever the recall, and None chooses it for the recall.
        """
        super().__init__()
        self._wanted_recall = recall
        self._effort = effort
        self._leaves_choice = effort is None

    @property
    def effort(self) -> int:
        """How much is looked at per query; more if many answers are asked for."""
        return self._effort or self._require_built().facts.effort

    def _build(self, gallery: Tensor) -> Built[S]:
        vectors = gallery.cpu().float()  # (G, D)
        probes = _Probes.draw(vectors)
        for structure in self._structures(vectors):
            effort, recall = self._tune(structure, probes)
            if recall >= self._wanted_recall:
                break
        if recall < self._wanted_recall and self._leaves_choice:
            raise VectorIndexError(
                f"{self.name} reaches a recall of {recall:.3f} by {structure} and {effort} as "
                f"{self.effort_name}, not {self._wanted_recall}: raise or leave out the settings "
                "given, lower the wanted recall, or use the exact index"
            )
        facts = IndexFacts.of(self.kind, vectors, recall=recall, effort=effort)
        return Built(structure, facts)

    def _search(self, built: Built[S], queries: Tensor, *, k: int) -> Neighbours:
        vectors = queries.cpu().float().contiguous()  # (Q, D)
        return self._ask(built.structure, vectors, k=k, effort=self.effort)

    @abstractmethod
    def _structures(self, vectors: Tensor) -> Iterator[S]:
        """Build structures over (G, D) float32, the one that is fastest to search first."""

    @abstractmethod
    def _ask(self, structure: S, queries: Tensor, *, k: int, effort: int) -> Neighbours:
        """Answer (Q, D) float32 queries; raise a chosen effort where many answers are wanted."""

    @abstractmethod
    def _efforts(self, structure: S) -> tuple[int, int]:
        """Return the least and the largest effort to try."""

    def _tune(self, structure: S, probes: "_Probes") -> tuple[int, float]:
        """Raise the effort until enough probes find their nearest row; return effort and recall."""
        missed = probes
        for effort in self._tried(structure):
            # More effort finds what less effort found.
            missed = missed.without_found(
                self._ask(structure, missed.vectors, k=_PROBE_ANSWERS, effort=effort)
            )
            recall = 1 - len(missed.rows) / max(1, len(probes.rows))
            if recall >= self._wanted_recall:
                break
        return effort, recall

    def _tried(self, structure: S) -> Iterator[int]:
        if self._effort is not None:
            yield self._effort
            return
        least, largest = self._efforts(structure)
        effort = float(least)
        while effort < largest:
            yield int(effort)
            effort *= _STEP
        yield largest


@dataclass(frozen=True, slots=True)
class _Probes:
    """Gallery rows of which the nearest other row is known."""

    rows: Tensor  # (P,) int64
    vectors: Tensor  # (P, D) float32, the gallery at `rows`
    nearest: Tensor  # (P,) float32 distance of the nearest other row

    @classmethod
    def draw(cls, gallery: Tensor) -> "_Probes":
        """Draw up to MAXIMUM_PROBES rows; a single row of a gallery gives no probe."""
        num_probes = min(MAXIMUM_PROBES, len(gallery)) if len(gallery) > 1 else 0
        generator = torch.Generator().manual_seed(0)
        rows = torch.randperm(len(gallery), generator=generator)[:num_probes]  # (P,)
        vectors = gallery[rows]
        nearest = _others(find_nearest(vectors, gallery, k=_PROBE_ANSWERS), rows)
        return cls(rows, vectors, nearest)

    def without_found(self, answers: Neighbours) -> "_Probes":
        """Keep the probes whose nearest other row is not among their (P, 2) answers."""
        is_missed = ~is_as_near(_others(answers, self.rows), self.nearest)
        return _Probes(self.rows[is_missed], self.vectors[is_missed], self.nearest[is_missed])


def _others(answers: Neighbours, rows: Tensor) -> Tensor:
    """Find the distance of the nearest answer that is another row: (P,)."""
    is_self = answers.indices == rows[:, None]  # (P, K)
    return answers.distances.masked_fill(is_self, torch.inf).amin(dim=1)
