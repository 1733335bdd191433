"""Pages that show results."""

from typing import Protocol

from reid.domain.values.page_data import AnswersPageData, EvaluationPageData
from reid.domain.values.results import Results


class ResultsPage(Protocol):
    """A page that is always replaced as a whole; the same results make the same bytes."""

    def write(self, results: Results) -> tuple[str, ...]:
        """Replace the page and its figures.

        Returns:
            The places of the page and of each figure, in this order.

        Raises:
            CheckpointError: The place cannot be written.
        """
        ...


class AnswersPage(Protocol):
    """A page that shows answers with their images, without a network.

    It is always replaced as a whole; the same data make the same bytes. Names and labels are shown
    literally, whatever they contain.
    """

    def write(self, page_data: AnswersPageData) -> str:
        """Replace the page.

        Returns:
            Its place.

        Raises:
            CheckpointError: The place cannot be written.
        """
        ...


class EvaluationPage(Protocol):
    """A page that shows an evaluation and its analysis.

    It is always replaced as a whole; the same data make the same bytes.
    """

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        """Replace the page.

        Returns:
            The place of each file.

        Raises:
            CheckpointError: The place cannot be written.
        """
        ...
