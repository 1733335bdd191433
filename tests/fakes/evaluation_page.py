"""A page that only remembers what it was to show."""

from reid.domain.values.sheets import EvaluationSheet


class FakeEvaluationPage:
    def __init__(self) -> None:
        self.sheets: list[EvaluationSheet] = []

    def write(self, sheet: EvaluationSheet) -> tuple[str, ...]:
        self.sheets.append(sheet)
        return ("page",)
