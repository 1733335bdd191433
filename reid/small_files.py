"""Bounded reading of small, untrusted files."""

import json
from pathlib import Path
from typing import Any

MOST_SETTINGS_BYTES = 2**20  # most bytes of a TOML file; all settings take a few kilobytes
MOST_RECORD_BYTES = 256 * 2**20
"""Most bytes of a run's record or log; MSMT17's 11,659 queries take 2 MB."""

MOST_HEADER_BYTES = 2**20  # most bytes of the description of an exported encoder or gallery


class FileBoundsError(ValueError):
    """A file is too large, nested too deeply or not regular."""


def read_bounded(path: Path, *, most_bytes: int) -> bytes:
    """Read a regular file.

    Raises:
        FileBoundsError: It is no regular file, or larger.
        OSError: It cannot be read.
    """
    if path.exists() and not path.is_file():
        raise FileBoundsError("it is not a regular file")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise FileBoundsError(
            f"it is larger than {most_bytes / 2**20:g} MiB, the most that is read of such a file"
        )
    return content


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401  (whatever JSON can hold)
    """Read JSON; a `ValueError` says that it is invalid or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise FileBoundsError("it is nested too deeply") from error
