"""Whole HTML documents that need no network and run no script but ours."""

import json
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files
from string import Template

from reid.adapters.pages.markup import Markup, joined, tag

_GONE = "picture gone"


class PictureStore:
    """The small pictures of a document; one that is shown many times is held once."""

    def __init__(self) -> None:
        """Begin empty."""
        self._numbers: dict[bytes, int] = {}

    def image(self, content: bytes | None, *, alt: str) -> Markup:
        """Show a picture, or say why there is none.

        Args:
            content: A JPEG.
            alt: What is on it, in words.
        """
        if content is None:
            return tag("span", _GONE, class_="gone", role="img", aria_label=f"{alt}: {_GONE}")
        number = self._numbers.setdefault(content, len(self._numbers))
        return tag("img", data_picture=number, alt=alt, decoding="async")

    def as_json(self) -> str:
        """Write base64 texts by number."""
        return json.dumps([b64encode(content).decode() for content in self._numbers])


def document(
    *,
    title: str,
    body: Iterable[str | Markup],
    assets: Iterable[str],
    pictures: PictureStore,
) -> str:
    """Put a document together.

    Its policy admits our style and script, by their digests, and pictures from within it; nothing
    else, so that what a name or a label holds can neither run nor fetch anything.

    Args:
        title: Of the document.
        body: What it says.
        assets: Names of our styles (`.css`) and scripts (`.js`), in order.
        pictures: What `body` shows.
    """
    names = tuple(assets)
    style = "\n".join(read_asset(name) for name in names if name.endswith(".css"))
    script = "\n".join(read_asset(name) for name in names if name.endswith(".js"))
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(read_asset("page.html")).substitute(
        policy=policy,
        title=joined([title]),
        style=style,
        body=joined(body),
        pictures=pictures.as_json(),
        script=script,
    )


def read_asset(name: str) -> str:
    """Read a file that comes with this package."""
    return (files("reid.adapters.pages") / "assets" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
