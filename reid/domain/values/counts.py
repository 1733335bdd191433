"""Counted nouns for messages."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write `1 image`, but `0 images` and `2 images`; without a plural, the noun gets an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
