"""Take out of a text what is nobody else's business."""

import re
from collections.abc import Mapping

_PATH = re.compile(r"(?<![\w/.:~>])/(?:[^\s/'\",;:()]+/)*[^\s/'\",;:()]+/?")
"""An absolute path: of whatever stands behind a slash that follows no word."""

HIDDEN_PATH = "<path>"


class Concealment:
    """Puts a placeholder where a text names a private place, a user or a machine."""

    def __init__(self, *, places: Mapping[str, str], names: Mapping[str, str]) -> None:
        """Take what is private.

        Args:
            places: Absolute paths, with what is written instead.
            names: Words, with what is written instead; a word within a longer one is another word.
        """
        by_length = sorted(places.items(), key=lambda entry: len(entry[0]), reverse=True)
        # The whole root folder would be every path.
        self._patterns = [
            *((_beginning(place), shown) for place, shown in by_length if len(place) > 1),
            (_PATH, HIDDEN_PATH),
            *((_alone(name), shown) for name, shown in names.items() if name),
        ]

    def __call__(self, text: str) -> str:
        """Conceal places, the longest first, then paths that nobody named, then names."""
        for pattern, shown in self._patterns:
            text = pattern.sub(shown, text)
        return text


def _beginning(place: str) -> re.Pattern[str]:
    """Match a place where it is not the beginning of a longer name."""
    return re.compile(rf"{re.escape(place)}(?![\w.-])")


def _alone(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
