"""The common part of approximate indexes, which search as much as a wanted recall takes.

Letters: G gallery, Q queries, D width, K answers, P probes.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from reid.adapters.indexes.index_files import (
    LARGEST_EFFORT,
    IndexFacts,
    fingerprint_of,
    replacing,
    require_fit,
)
from reid.adapters.indexes.vector_checks import check_gallery, check_search, not_built
from reid.domain.errors import VectorIndexError
from reid.domain.ranking.distances import find_nearest, is_as_near
from reid.domain.values.ranking import Neighbours

MAXIMUM_PROBES = 1000
"""The standard error of a recall of .95 is then .007."""

_STEP = 1.5
"""Factor to the next effort tried, which bounds the excess effort."""

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Built(Generic[S]):
    """A structure to search, and its facts."""

    structure: S
    facts: IndexFacts


class ApproximateIndex(ABC, Generic[S]):
    """Searches a structure with the least effort that reaches a wanted recall."""

    is_exact = False

    kind: ClassVar[str]
    name: ClassVar[str]
    """Name in messages."""

    effort_name: ClassVar[str]
    """Name of the setting."""

    def __init__(self, *, recall: float, effort: int | None, seed: int = 0) -> None:
        """Start empty.

        Args:
            recall: Wanted share of gallery rows whose nearest other row is found.
            effort: How much is looked at per query; None: chosen for the recall.
            seed: Of the rows by which recall is measured.

        Raises:
            VectorIndexError: A value is out of range.
        """
        if not 0 < recall <= 1:
            raise VectorIndexError(
                f"{self.name}'s wanted recall must be within (0, 1], got {recall}"
            )
        self._wanted_recall = recall
        self._effort = self._in_range(self.effort_name, effort)
        self._seed = seed
        self._built: Built[S] | None = None

    @property
    def recall(self) -> float:
        """Recall that the last `build` measured; 1 for a gallery of a single row.

        Raises:
            VectorIndexError: Nothing was built yet.
        """
        return self._require_built().facts.recall

    def build(self, gallery: Tensor) -> None:
        """Replace the content; see the port.

        Raises:
            VectorIndexError: There are no rows, a row is not of unit norm, the recall is not
                reached, or a file cannot be written.
        """
        check_gallery(gallery)
        vectors = gallery.detach().cpu().float()  # (G, D)
        probes = _Probes.draw(vectors, seed=self._seed)
        for structure in self._structures(vectors):
            effort, recall = self._tune(structure, probes)
            if recall >= self._wanted_recall:
                break
        if recall < self._wanted_recall and not self._is_given():
            raise VectorIndexError(
                f"{self.name} reaches a recall of {recall:.3f} by "
                f"{self._told(structure, effort)}, not {self._wanted_recall}: raise or leave out "
                "the settings given, lower the wanted recall, or use the exact index"
            )
        facts = IndexFacts(
            kind=self.kind,
            num_rows=len(vectors),
            width=vectors.shape[1],
            fingerprint=fingerprint_of(vectors),
            recall=recall,
            effort=effort,
        )
        self._built = Built(structure, facts)

    def search(self, queries: Tensor, k: int) -> Neighbours:
        """Rank the gallery rows found; see the port."""
        built = self._require_built()
        check_search(queries, k=k, width=built.facts.width)
        vectors = queries.detach().cpu().float().contiguous()  # (Q, D)
        num_answers = min(k, built.facts.num_rows)
        effort = self._effort or self._enough(built.structure, built.facts.effort, k=num_answers)
        return self._ask(built.structure, vectors, k=num_answers, effort=effort)

    def save(self, path: str) -> None:
        """Write the structure and its facts; see the port."""
        built = self._require_built()
        with replacing(path) as part:
            facts = self._write(built, part)
        self._built = self._kept(Built(built.structure, facts), path)

    def load(self, path: str, *, gallery: Tensor) -> None:
        """Map a structure from its file; see the port. The index keeps an effort given to it."""
        facts = self._facts_in(path, gallery)
        require_fit(facts, kind=self.kind, gallery=gallery, path=path)
        self._built = Built(self._read(path, facts, gallery), facts)

    @abstractmethod
    def _structures(self, vectors: Tensor) -> Iterator[S]:
        """Build structures over (G, D) float32, the one that is fastest to search first."""

    @abstractmethod
    def _ask(self, structure: S, queries: Tensor, *, k: int, effort: int) -> Neighbours:
        """Answer (Q, D) float32 queries; k at most G."""

    @abstractmethod
    def _efforts(self, structure: S, num_rows: int) -> tuple[int, int]:
        """Return the least and the largest effort to try."""

    @abstractmethod
    def _write(self, built: Built[S], part: Path) -> IndexFacts:
        """Write a structure and its facts to a file; return the facts, completed by the file's."""

    @abstractmethod
    def _facts_in(self, path: str, gallery: Tensor) -> IndexFacts:
        """Read the facts in a file."""

    @abstractmethod
    def _read(self, path: str, facts: IndexFacts, gallery: Tensor) -> S:
        """Map a gallery's structure from a file."""

    @abstractmethod
    def _told(self, structure: S, effort: int) -> str:
        """Describe the settings that were tried last."""

    def _enough(self, structure: S, effort: int, *, k: int) -> int:  # noqa: ARG002
        """Raise a chosen effort where many answers are wanted."""
        return effort

    def _is_given(self) -> bool:
        """Whether settings leave nothing to choose."""
        return self._effort is not None

    def _kept(self, built: Built[S], path: str) -> Built[S]:  # noqa: ARG002
        """Choose what to search after saving."""
        return built

    def _require_built(self) -> Built[S]:
        if self._built is None:
            raise not_built()
        return self._built

    @classmethod
    def _in_range(cls, name: str, value: int | None) -> int | None:
        if value is not None and not 1 <= value <= LARGEST_EFFORT:
            raise VectorIndexError(
                f"{cls.name}'s {name} must be within 1..{LARGEST_EFFORT}, got {value}"
            )
        return value

    def _tune(self, structure: S, probes: "_Probes") -> tuple[int, float]:
        """Raise the effort until enough probes find their nearest row; return effort and recall."""
        missed = probes
        for effort in self._tried(structure, probes.num_rows):
            # More effort finds what less effort found.
            answers = self._ask(structure, missed.vectors, k=missed.num_answers, effort=effort)
            missed = missed.without_found(answers)
            recall = 1 - len(missed.rows) / max(1, len(probes.rows))
            if recall >= self._wanted_recall:
                break
        return effort, recall

    def _tried(self, structure: S, num_rows: int) -> Iterator[int]:
        if self._effort is not None:
            yield self._effort
            return
        least, largest = self._efforts(structure, num_rows)
        effort = float(least)
        while effort < largest:
            yield int(effort)
            effort *= _STEP
        yield largest


@dataclass(frozen=True, slots=True)
class _Probes:
    """Gallery rows of which the nearest other row is known."""

    rows: Tensor
    """(P,) int64."""

    vectors: Tensor
    """(P, D) float32, the gallery at `rows`."""

    nearest: Tensor
    """(P,) float32 distance of the nearest other row."""

    num_rows: int
    """G."""

    @classmethod
    def draw(cls, gallery: Tensor, *, seed: int) -> "_Probes":
        """Draw up to MAXIMUM_PROBES rows; a single row of a gallery gives no probe."""
        num_rows = len(gallery)
        num_probes = min(MAXIMUM_PROBES, num_rows) if num_rows > 1 else 0
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randperm(num_rows, generator=generator)[:num_probes]  # (P,)
        vectors = gallery[rows]
        nearest = _others(find_nearest(vectors, gallery, k=2), rows)
        return cls(rows=rows, vectors=vectors, nearest=nearest, num_rows=num_rows)

    @property
    def num_answers(self) -> int:
        """Answers to ask for: the probe itself and another row, if there is one."""
        return min(2, self.num_rows)

    def without_found(self, answers: Neighbours) -> "_Probes":
        """Keep the probes whose nearest other row is not among their (P, num_answers) answers."""
        is_missed = ~is_as_near(_others(answers, self.rows), self.nearest)
        return _Probes(
            rows=self.rows[is_missed],
            vectors=self.vectors[is_missed],
            nearest=self.nearest[is_missed],
            num_rows=self.num_rows,
        )


def _others(answers: Neighbours, rows: Tensor) -> Tensor:
    """Find the distance of the nearest answer that is another row: (P,)."""
    is_self = answers.indices == rows[:, None]  # (P, K)
    return answers.distances.masked_fill(is_self, torch.inf).amin(dim=1)
