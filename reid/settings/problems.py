"""What is wrong with values, a line each, and who set them."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import ValidationError

from reid.settings.catalogue import known_sections, known_settings
from reid.settings.layers import DEFAULT, Layer

_WORDS: Mapping[str, str] = {
    "extra_forbidden": "there is no such setting",
    "tuple_type": "should be a list in brackets, its values divided by commas",
    "missing": "should have more values",
    "too_long": "should have fewer values",
}
"""What pydantic says in Python's words, by the type of its error, in a settings file's."""


def problems_of(error: ValidationError, merged: Layer) -> Iterator[str]:
    """Yield `section.key: what it should be, got what (from where)` for every refused value."""
    found: dict[tuple[str, str], list[str]] = {}
    for details in error.errors():
        key = _known_part(details["loc"])
        message = details["msg"].removeprefix("Value error, ").replace("Input should", "should")
        place = _place_within(details["loc"], key)
        message = _WORDS.get(details["type"], message)
        if key in known_sections():
            # Recipes check themselves and begin their message with the name of the field.
            name, _, message = message.partition(" ")
            key = f"{key}.{name}"
        found.setdefault((key, place), []).append(message)
    for (key, place), messages in found.items():
        got = f", got {merged.values[key]!r}" if _is_shown(key, merged) else ""
        # A value that may be of several kinds is refused once for each.
        told = ", or ".join(dict.fromkeys(messages))
        yield f"{key}{place}: {told}{got} ({_blame(key, merged)})"


def _is_shown(key: str, merged: Layer) -> bool:
    leaf = known_settings().get(key)
    return key in merged.values and not (leaf is not None and leaf.is_secret)


def _known_part(location: Sequence[int | str]) -> str:
    """Cut what pydantic adds below a setting: places in a list, members of a union."""
    parts = [str(part) for part in location]
    names = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    known = (name for name in names if name in known_settings() or name in known_sections())
    return next(known, ".".join(parts))


def _place_within(location: Sequence[int | str], key: str) -> str:
    """Show where in a list of tables a value stands: `[0].root`; empty for plain lists."""
    place = location[key.count(".") + 1 :]
    if len(place) < 2 or not isinstance(place[0], int):
        return ""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _blame(key: str, merged: Layer) -> str:
    """Say who set a value, or, where nobody did, who set its neighbours that it fails beside."""
    origin = merged.origins.get(key, DEFAULT)
    if origin.is_chosen:
        return str(origin)
    section = key.rpartition(".")[0]
    neighbours = [
        f"{name} from {other}"
        for name, other in merged.origins.items()
        if section and name.startswith(f"{section}.") and other.is_chosen
    ]
    return "; ".join([str(origin), *neighbours])
