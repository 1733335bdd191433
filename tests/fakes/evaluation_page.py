"""A page that only remembers what it was to show."""

from reid.domain.values.page_data import EvaluationPageData


class FakeEvaluationPage:
    def __init__(self) -> None:
        self.page_data: list[EvaluationPageData] = []

    def write(self, page_data: EvaluationPageData) -> tuple[str, ...]:
        self.page_data.append(page_data)
        return ("page",)
