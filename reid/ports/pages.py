"""Where results are shown."""

from typing import Protocol

from reid.domain.values.page_data import AnswersPageData, EvaluationPageData
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


class AnswersPage(Protocol):
    """A page that shows answers with their images, made anew as a whole and without a network.

    The same page_data makes the same bytes. Names and labels are shown as they are, whatever they
    hold.
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
    """Where an evaluation is shown with what lies behind its averages, made anew as a whole.

    The same page_data makes the same bytes.
    """

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        """Replace what is there.

        Returns:
            The place of each file.

        Raises:
            CheckpointError: The place cannot be written.
        """
        ...
