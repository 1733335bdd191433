"""Self-contained HTML documents that need no network and run only our scripts."""

import json
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from reid.domain.values.counts import counted
from reid.domain.values.page_data import Verdict

if TYPE_CHECKING:
    from jinja2 import Environment

_SIGNS = {Verdict.RIGHT: "\u2713 ", Verdict.WRONG: "\u2717 ", Verdict.UNKNOWN: "? "}
"""Signs that distinguish verdicts without colours."""


class ImageStore:
    """The small images of a document, each stored once."""

    def __init__(self) -> None:
        """Begin empty."""
        self._numbers: dict[bytes, int] = {}

    def number(self, content: bytes) -> int:
        """Store a JPEG, unless it is there, and return its number."""
        return self._numbers.setdefault(content, len(self._numbers))

    def as_json(self) -> Markup:
        """Write base64 texts by number."""
        return Markup(json.dumps([b64encode(content).decode() for content in self._numbers]))


def render(template: str, *, title: str, assets: Iterable[str], **values: object) -> str:
    """Write a document.

    Its policy allows only our style and script, by their digests, and embedded images, so that
    names and labels can neither run nor fetch anything.

    Args:
        template: Name of a template that extends `page.html`.
        title: Title of the document.
        assets: Names of our styles (`.css`) and scripts (`.js`), in order.
        values: Values for the template, which escapes them.
    """
    names = tuple(assets)
    style, script = (
        Markup("\n".join(_read_asset(name) for name in names if name.endswith(ending)))
        for ending in (".css", ".js")
    )
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            style=style,
            script=script,
            policy=Markup(policy),
            images=ImageStore(),
            **values,
        )
    )


def render_text(template: str, **values: object) -> str:
    """Write a text from a template that is not HTML, without escaping."""
    return _environment().get_template(template).render(values)


@cache
def _environment() -> "Environment":
    # Imported here, because few commands write a page.
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("reid.adapters.pages", "assets"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(counted=counted, signs=_SIGNS)
    return environment


def _read_asset(name: str) -> str:
    return (files("reid.adapters.pages") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
