"""Pages that show results, and the layout of maps on them."""

from typing import Protocol, TypeVar

from torch import Tensor

from reid.domain.values.analyses import MapLayout

_Content = TypeVar("_Content", contravariant=True)


class Page(Protocol[_Content]):
    """An image or a page with its figures, always replaced as a whole.

    Equal content makes equal bytes. Names and labels are shown literally, whatever they contain,
    and nothing is fetched from a network.
    """

    def write(self, content: _Content, /) -> tuple[str, ...]:
        """Replace the page and its figures.

        Returns:
            The places of the page and of each figure, in this order.

        Raises:
            CheckpointError: A place cannot be written.
        """


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
