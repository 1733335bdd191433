"""A gallery in a folder: records in SQLite, vectors in files beside it."""

from collections.abc import Callable
from pathlib import Path

from reid.adapters.atomic_files import sync_folder
from reid.adapters.galleries.filesystem.index_files import KEPT_FROM_ROWS
from reid.adapters.galleries.filesystem.vectors import FileVectors
from reid.adapters.galleries.sqlite.records import SqliteRecords, explained, no_gallery
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.ports.vector_index import VectorIndex

DATABASE = "gallery.sqlite"
WAIT_SECONDS = 30.0
"""How long a second writer waits for the first."""


def open_filesystem_gallery(
    directory: Path,
    *,
    create: bool,
    create_index: Callable[[], VectorIndex],
    wait_seconds: float = WAIT_SECONDS,
    index_from_rows: int = KEPT_FROM_ROWS,
) -> Gallery:
    """Open a gallery, and clear what a crash left behind where the folder can be written.

    Several processes and threads may use one folder at once.

    Args:
        directory: The folder.
        create: Make an empty gallery where there is none.
        create_index: Makes the index that searches.
        wait_seconds: How long to wait for another writer.
        index_from_rows: An index of fewer rows is built in memory and not kept on the disk.

    Raises:
        GalleryError: The gallery is missing or damaged, or cannot be made.
    """
    place = str(directory)
    records = SqliteRecords(directory / DATABASE, place=place, wait_seconds=wait_seconds)
    with explained(place):
        if create and not (directory / DATABASE).exists():
            directory.mkdir(parents=True, exist_ok=True)
            sync_folder(directory.parent)
        elif not (directory / DATABASE).is_file():
            raise no_gallery(place)
    try:
        records.open(create=create)
        vectors = FileVectors(directory, create_index=create_index, index_from_rows=index_from_rows)
        gallery = Gallery(records, vectors)
        gallery.finish_changes()
    except GalleryError:
        records.close()
        raise
    return gallery
