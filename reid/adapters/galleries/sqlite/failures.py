"""Errors of a gallery's SQLite file and folder, explained to users."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reid.adapters.galleries.sql_records import DamagedRecordError, damaged
from reid.domain.errors import GalleryError


def no_gallery(place: str) -> GalleryError:
    """Return the error about a folder without a gallery."""
    return GalleryError(f"{place} holds no gallery: build one first")


@contextmanager
def explained(place: str) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into messages for users.

    Raises:
        GalleryError: In place of `sqlite3.Error` and `OSError`.
    """
    try:
        yield
    except (sqlite3.Error, DamagedRecordError) as error:
        raise _explanation(error, place) from error
    except UnicodeEncodeError as error:
        raise GalleryError(
            f"{place} cannot keep the name {error.object!a}: it is no text; rename the file"
        ) from error
    except OSError as error:
        raise GalleryError(
            f"{place} cannot be read or written: {error.strerror or error}"
            + (f" ({Path(error.filename).name})" if error.filename else "")
            + "; the state before is kept: make room or see its permissions"
        ) from error


def _explanation(error: Exception, place: str) -> GalleryError:
    text = "" if isinstance(error, DamagedRecordError) else str(error)
    if "locked" in text or "busy" in text:
        return GalleryError(
            f"{place} is being changed by another process: wait for it to end, then try again"
        )
    if "unable to open" in text:
        return GalleryError(f"{place} cannot be opened: {text}; see its permissions")
    if "full" in text or "I/O" in text or "readonly" in text:
        return GalleryError(f"{place} cannot be written: {text}; make room or see its permissions")
    return damaged(place, error)
