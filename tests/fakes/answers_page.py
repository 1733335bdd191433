"""A page that only remembers what it was to show."""

from reid.domain.values.page_data import AnswersPageData


class FakeAnswersPage:
    def __init__(self) -> None:
        self.page_data: list[AnswersPageData] = []

    def write(self, page_data: AnswersPageData) -> str:
        self.page_data.append(page_data)
        return "page"
