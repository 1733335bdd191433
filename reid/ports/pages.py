"""Pages that show results."""

from typing import Protocol, TypeVar

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
