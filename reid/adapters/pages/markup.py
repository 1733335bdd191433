"""HTML that is escaped by construction."""

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"br", "img", "input", "link", "meta"})


class Markup(str):
    """Text that is HTML already; every other text is escaped where it is put in."""

    __slots__ = ()


def tag(name: str, /, *content: "str | Markup", **attributes: str | float | bool | None) -> Markup:
    """Write an element.

    Args:
        name: Of the element.
        content: Escaped unless it is `Markup`.
        attributes: Escaped; `data_label` becomes `data-label` and `class_` becomes `class`. True
            writes the bare name, False and None nothing.
    """
    opening = f"<{name}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    return Markup(opening if name in _VOID else f"{opening}{joined(content)}</{name}>")


def joined(parts: Iterable["str | Markup"]) -> Markup:
    """Put parts one after the other, escaped unless they are `Markup`."""
    return Markup("".join(p if isinstance(p, Markup) else escape(p, quote=True) for p in parts))


def _attribute(name: str, value: str | float | bool | None) -> str:  # noqa: FBT001
    if value is None or value is False:
        return ""
    shown = name.rstrip("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{escape(str(value), quote=True)}"'
