"""A page that only remembers what it was to show."""

from typing import Generic, TypeVar

_Content = TypeVar("_Content")


class FakePage(Generic[_Content]):
    def __init__(self) -> None:
        self.written: list[_Content] = []

    def write(self, content: _Content, /) -> tuple[str, ...]:
        self.written.append(content)
        return ("page",)
