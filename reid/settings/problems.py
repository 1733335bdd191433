"""Problems of invalid settings, a line each, with the source of the value."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import SecretStr, ValidationError

from reid.settings.catalogue import known_sections, known_settings, types_of
from reid.settings.layers import NOTHING, Given

_WORDS: Mapping[str, str] = {
    "extra_forbidden": "there is no such setting",
    "tuple_type": "should be a list in brackets, its values divided by commas",
    "missing": "should have more values",
    "too_long": "should have fewer values",
}
"""Messages for settings files in place of pydantic's, by error type."""


def problems_of(error: ValidationError, given: Mapping[str, Given]) -> Iterator[str]:
    """Yield `section.key: expectation, got value (source)` for every invalid value."""
    found: dict[tuple[str, str], list[str]] = {}
    for details in error.errors():
        key = _known_part(details["loc"])
        message = details["msg"].removeprefix("Value error, ").replace("Input should", "should")
        place = _place_within(details["loc"], key)
        message = _WORDS.get(details["type"], message)
        if key in known_sections():
            # Recipes validate themselves; their messages begin with the name of the field.
            name, _, message = message.partition(" ")
            key = f"{key}.{name}"
        found.setdefault((key, place), []).append(message)
    for (key, place), messages in found.items():
        is_shown = key in given and SecretStr not in (types_of(key) or ())
        got = f", got {given[key].value!r}" if is_shown else ""
        # A value of several possible types is refused once for each.
        problem = ", or ".join(dict.fromkeys(messages))
        yield f"{key}{place}: {problem}{got} ({_blame(key, given)})"


def _known_part(location: Sequence[int | str]) -> str:
    """Cut what pydantic appends to a setting: indices of lists, members of unions."""
    parts = [str(part) for part in location]
    names = [".".join(parts[:depth]) for depth in range(len(parts), 0, -1)]
    known = (name for name in names if name in known_settings() or name in known_sections())
    return next(known, ".".join(parts))


def _place_within(location: Sequence[int | str], key: str) -> str:
    """Format the place in a list of tables, `[0].root`; empty for plain lists."""
    place = location[key.count(".") + 1 :]
    if len(place) < 2 or not isinstance(place[0], int):
        return ""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)


def _blame(key: str, given: Mapping[str, Given]) -> str:
    """Name the source of a value or, for a default, the sources of its neighbours."""
    origin = given.get(key, NOTHING).origin
    section = key.rpartition(".")[0]
    neighbours = [
        f"{name} from {other}"
        for name, (_, other) in given.items()
        if section and name.startswith(f"{section}.") and other.is_chosen
    ]
    return "; ".join([str(origin), *([] if origin.is_chosen else neighbours)])
