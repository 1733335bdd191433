"""How often an approximate index finds the nearest row, measured on its own gallery.

Letters: P probes, G gallery, D width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reid.domain.ordering import distances
from reid.domain.values.ranking import Neighbours

MAXIMUM_PROBES = 1000
"""The standard error of a recall of .95 is then .007."""

_PROBES_PER_BLOCK = 100

_DISTANCE_TOLERANCE = 1e-6
"""Two roundings of one float32 distance may differ by so much; a tie is no miss."""


@dataclass(frozen=True, slots=True)
class RecallProbes:
    """Gallery rows of which the nearest other row is known."""

    rows: Tensor
    """(P,) int64."""

    vectors: Tensor
    """(P, D) float32, the gallery at `rows`."""

    nearest: Tensor
    """(P,) float32 distance of the nearest other row."""

    num_rows: int
    """G."""

    def __len__(self) -> int:
        """Count the probes."""
        return len(self.rows)

    @property
    def num_answers(self) -> int:
        """Answers to ask for: the probe itself and another row, if there is one."""
        return min(2, self.num_rows)

    def without_found(self, answers: Neighbours) -> "RecallProbes":
        """Keep the probes whose nearest other row is not among their answers.

        Args:
            answers: (P, num_answers) of an index for `vectors`.
        """
        is_self = answers.indices == self.rows[:, None]  # (P, K)
        found = answers.distances.masked_fill(is_self, float("inf")).amin(dim=1)  # (P,)
        is_missed = found > self.nearest + _DISTANCE_TOLERANCE
        return RecallProbes(
            rows=self.rows[is_missed],
            vectors=self.vectors[is_missed],
            nearest=self.nearest[is_missed],
            num_rows=self.num_rows,
        )


def draw_probes(gallery: Tensor, *, seed: int) -> RecallProbes:
    """Draw up to MAXIMUM_PROBES rows and find the nearest other row of each exactly.

    Args:
        gallery: (G, D) float32 on the CPU, rows of unit L2 norm; a single row gives no probe.
        seed: Of the draw.
    """
    num_rows = len(gallery)
    num_probes = min(MAXIMUM_PROBES, num_rows) if num_rows > 1 else 0
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(num_rows, generator=generator)[:num_probes]  # (P,)
    nearest = torch.empty(num_probes)
    for start in range(0, num_probes, _PROBES_PER_BLOCK):
        own = rows[start : start + _PROBES_PER_BLOCK]
        block = distances(gallery[own], gallery)  # (B, G)
        block[torch.arange(len(own)), own] = float("inf")
        nearest[start : start + _PROBES_PER_BLOCK] = block.amin(dim=1)
    return RecallProbes(rows=rows, vectors=gallery[rows], nearest=nearest, num_rows=num_rows)
