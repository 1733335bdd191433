"""Layout of vectors on a map."""

from typing import Protocol

from torch import Tensor

from reid.domain.values.analyses import MapLayout


class MapMaker(Protocol):
    """Lays vectors out in two dimensions, so that neighbours stay neighbours."""

    def __call__(self, vectors: Tensor, *, perplexity: float) -> MapLayout:
        """Lay vectors out, the same way every time on one machine.

        Args:
            vectors: (N, D) float on the CPU, N >= 8, D >= 2; may be equal.
            perplexity: About how many neighbours count for each vector, at least 1; lowered where
                there are few vectors.

        Returns:
            A finite place for each vector in their order, or none and the reason.
        """
