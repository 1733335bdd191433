"""Records of an exported gallery: a JSON array of images, written and read one by one."""

import json
import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, BinaryIO

from reid.domain.values.galleries import Calibration, NewImage, is_keepable
from reid.small_files import FileBoundsError

_TEXTS = ("name", "source", "content", "label")
_PERHAPS_TEXTS = ("camera", "expires_at")
_NAMES = (*_TEXTS, *_PERHAPS_TEXTS)

_SPACE = re.compile(r"[ \t\n\r]*")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_MOST_RECORD_CHARACTERS = 4 * 2**20
"""A record takes a few hundred."""


def write_records(file: BinaryIO, images: Iterable[NewImage]) -> int:
    """Write images; thumbnails are left out.

    Returns:
        How many there were.
    """
    count = 0
    file.write(b"[")
    for count, image in enumerate(images, 1):
        row = [getattr(image, name) for name in _NAMES]
        text = json.dumps(row, ensure_ascii=False)
        file.write((text if count == 1 else f", {text}").encode())
    file.write(b"]")
    return count


def read_records(blocks: Iterable[bytes]) -> Iterator[NewImage]:
    """Read images from blocks of text; no more than a block and a record is in memory.

    Raises:
        ValueError: The records are damaged, or a name would lead out of its folder.
    """
    rows = _Rows(blocks)
    rows.take("[")
    if rows.peek() == "]":
        rows.take("]")
    else:
        is_last = False
        while not is_last:
            yield _image(rows.row())
            is_last = rows.take(",]") == "]"
    if rows.peek():
        raise ValueError("something follows its records")


def read_calibrations(
    kept: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None,
) -> tuple[Calibration, ...]:
    """Read a list of calibrations; the first archives kept a single one, or None.

    Raises:
        TypeError: It is something else.
    """
    found = [kept] if isinstance(kept, Mapping) else kept or ()
    return tuple(Calibration(**calibration) for calibration in found)


class _Rows:
    """JSON text that is read as far as it is needed."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)
        self._decode = getincrementaldecoder("utf-8")().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """Look at the next character that is no space; empty at the end."""
        while True:
            spaces = _SPACE.match(self._text, self._at)
            self._at = spaces.end() if spaces else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read_on():
                return ""

    def take(self, admitted: str) -> str:
        """Step over the next character that is no space."""
        found = self.peek()
        if not found or found not in admitted:
            raise ValueError("its records are no list of images")
        self._at += 1
        return found

    def row(self) -> list[object]:
        """Step over an array."""
        if self.peek() != "[":
            raise ValueError("the record of an image is no list")
        while True:
            try:
                row, self._at = self._parse(self._text, self._at)
            except RecursionError as error:
                raise FileBoundsError("it is nested too deeply") from error
            except json.JSONDecodeError:
                # Perhaps only cut by the end of a block.
                if len(self._text) - self._at > _MOST_RECORD_CHARACTERS:
                    raise FileBoundsError("the record of an image is too long") from None
                if not self._read_on():
                    raise
            else:
                return row  # type: ignore[no-any-return]  # it began with a bracket

    def _read_on(self) -> bool:
        block = next(self._blocks, None)
        more = self._decode(b"" if block is None else block, block is None)
        self._text = self._text[self._at :] + more
        self._at = 0
        return block is not None


def _image(row: list[object]) -> NewImage:
    cells = dict(zip(_NAMES, row, strict=True))
    _require(cells, _TEXTS, _is_text)
    _require(cells, _PERHAPS_TEXTS, lambda cell: cell is None or _is_text(cell))
    image = NewImage(**cells)  # type: ignore[arg-type]  # their types were just looked at
    if _leads_away(image.name):
        raise ValueError(f"the name {image.name!r} leads out of its folder")
    return image


def _require(
    cells: Mapping[str, object], names: tuple[str, ...], is_right: Callable[[object], bool]
) -> None:
    wrong = [name for name in names if not is_right(cells[name])]
    if wrong:
        raise ValueError(f"an image's {wrong[0]} is no text")


def _is_text(cell: object) -> bool:
    """Whether a gallery can keep it: JSON can spell NUL and halves of characters."""
    if not isinstance(cell, str) or not is_keepable(cell):
        return False
    return cell.isascii() or not _HALF_CHARACTER.search(cell)


def _leads_away(name: str) -> bool:
    """Whether a name is anything but a plain path below a folder, on any system."""
    if not name:
        return True
    if "\\" not in name and ":" not in name:  # nearly all: what follows takes ten times as long
        return name.startswith("/") or ".." in name.split("/")
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.anchor or ".." in path.parts for path in paths)
