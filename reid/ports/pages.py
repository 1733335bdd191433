"""Where results are shown."""

from typing import Protocol

from reid.domain.values.results import Results


class ResultsPage(Protocol):
    """A page that is made anew as a whole; the same results make the same bytes."""

    def write(self, results: Results) -> tuple[str, ...]:
        """Replace the page and its figures.

        Returns:
            The places of the page and of each figure, in this order.

        Raises:
            CheckpointError: The place cannot be written.
        """
        ...
