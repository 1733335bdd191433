"""Self-contained documents, from our templates to a file.

HTML needs no network and runs only our scripts.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Generic, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from reid.adapters.atomic_files import cannot_be_made, replace_file
from reid.domain.values.counts import counted
from reid.domain.values.page_data import Verdict

_Content = TypeVar("_Content")

_SIGNS = {Verdict.RIGHT: "\u2713 ", Verdict.WRONG: "\u2717 ", Verdict.UNKNOWN: "? "}
"""Signs that distinguish verdicts without colours."""


@dataclass(frozen=True, slots=True)
class PageFile(Generic[_Content]):
    """A page in one file, and what makes its content."""

    path: Path
    render: Callable[[_Content], str | bytes]

    def write(self, content: _Content) -> tuple[str, ...]:
        """Replace the file."""
        return (write_page(self.path, self.render(content)),)


def write_page(path: Path, content: str | bytes) -> str:
    """Replace a file in one step, make its folder where it is missing, and return its name.

    Lone surrogates, as in file names that are not Unicode, are escaped.

    Raises:
        CheckpointError: The place cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(path.parent, error) from error
    if isinstance(content, str):
        content = content.encode(errors="backslashreplace")
    replace_file(path, content)
    return str(path)


def render(template: str, *, title: str, assets: Iterable[str], **values: object) -> str:
    """Write an HTML document.

    Its policy allows only our style and script, by their digests, and embedded images, so that
    names and labels can neither run nor fetch anything. The template extends `page.html` and
    escapes the values; `assets` names our styles (`.css`) and scripts (`.js`), in order.
    """
    folder = files("reid.adapters.pages") / "assets"
    content = {name: (folder / name).read_text(encoding="utf-8") for name in assets}
    style, script = (
        Markup("\n".join(content[name] for name in content if name.endswith(ending)))
        for ending in (".css", ".js")
    )
    # Small images by their numbers, each stored once.
    images = dict[bytes, int]()
    return render_text(template, title=title, style=style, script=script, images=images, **values)


def render_text(template: str, **values: object) -> str:
    """Write a text from a template, which escapes values in HTML and SVG only."""
    return templates().get_template(template).render(values)


@cache
def templates() -> Environment:
    """Open the templates."""
    environment = Environment(
        loader=PackageLoader("reid.adapters.pages", "assets"),
        autoescape=select_autoescape(["html", "svg"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(counted=counted, signs=_SIGNS)
    environment.filters.update(base64=_base64, digest=_digest, px="{:.1f}".format)
    return environment


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _digest(text: str) -> Markup:
    return Markup(f"sha256-{_base64(sha256(text.encode()).digest())}")
