"""A page that only remembers what it was to show."""

from reid.domain.values.sheets import AnswerSheet


class FakeAnswersPage:
    def __init__(self) -> None:
        self.sheets: list[AnswerSheet] = []

    def write(self, sheet: AnswerSheet) -> str:
        self.sheets.append(sheet)
        return "page"
