"""Counted nouns for messages."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Write `1 image`, but `0 images` and `2 images`.

    Args:
        number: How many.
        noun: What one of them is called.
        plural: What several are called; None: the noun and an s.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
