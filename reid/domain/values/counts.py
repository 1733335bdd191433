"""Counted nouns for messages."""

import re


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write `1 image`, but `0 images` and `2 queries`; `plural` is for irregular nouns."""
    regular = re.sub("(?<![aeiou])y$", "ie", noun) + "s"
    return f"{number} {noun if number == 1 else plural or regular}"
