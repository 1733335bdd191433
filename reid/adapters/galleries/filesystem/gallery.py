"""A gallery in a folder: records in SQLite, vectors in files beside it."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from reid.adapters.atomic_files import sync_folder
from reid.adapters.galleries.filesystem.index_files import KEPT_FROM_ROWS, IndexFiles
from reid.adapters.galleries.filesystem.vector_files import RowsState, VectorFiles
from reid.adapters.galleries.rows import RowsView, WithoutUpkeep
from reid.adapters.galleries.sqlite.records import SqliteRecords, explained, no_gallery
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import KeptImage
from reid.ports.gallery_vectors import VectorsGoneError
from reid.ports.vector_index import VectorIndex

DATABASE = "gallery.sqlite"
WAIT_SECONDS = 30.0  # how long a second writer waits for the first
_OURS = re.compile(
    r"(?a:vectors-\d+\.f32|keys-\d+\.i64|index-\d+-\d+-\w+(-[0-9a-f]{8})?\.(bin|tmp\b.*))"
)
"""Names of our files, including those that an index writes beside the one it was given. Other files
in the folder are not ours to delete."""


def open_filesystem_gallery(
    directory: Path,
    *,
    create: bool,
    create_index: Callable[[], VectorIndex],
    wait_seconds: float = WAIT_SECONDS,
    index_from_rows: int = KEPT_FROM_ROWS,
) -> Gallery:
    """Open a gallery; an empty one is made where there is none and `create`.

    What a crash left behind is cleared where the folder can be written. Several processes and
    threads may use one folder at once. An index of fewer than `index_from_rows` rows is built in
    memory and not kept on the disk.

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


class FileVectors(WithoutUpkeep):
    """Vectors in a folder; only files with names of ours are opened or deleted.

    Files are replaced as a whole, so no traces of removed vectors stay.
    """

    rewrites = True

    def __init__(
        self, folder: Path, *, create_index: Callable[[], VectorIndex], index_from_rows: int
    ) -> None:
        """Keep the parts; nothing is read yet."""
        self._folder = folder
        self._create_index = create_index
        self._files = VectorFiles(folder)
        self._index = IndexFiles(folder, create_index=create_index, kept_from_rows=index_from_rows)

    @property
    def is_exact(self) -> bool:
        """As the index."""
        return self._create_index().is_exact

    def view(self, state: str) -> RowsView:
        """Map the rows of a state, with an index where one is in use or on the disk."""
        now = RowsState.parsed(state)
        mapped = self._files.mapped(now)
        covered = self._index.find(now, mapped) if now.num_rows else None
        if covered is None:
            return RowsView(mapped.keys, mapped.rows)
        return RowsView(mapped.keys, mapped.rows, covered.index, covered.num_rows)

    def add(self, state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        """Append rows; see the port."""
        keys = np.array([image.key for image in images], dtype=np.int64)
        return str(self._files.append(RowsState.parsed(state), keys, vectors))

    def drop(self, state: str, keys: Sequence[int]) -> str:
        """Write the next generation, without these rows."""
        without = np.array(keys, dtype=np.int64)
        try:
            return str(self._files.rewrite(RowsState.parsed(state), without=without))
        except VectorsGoneError as error:
            raise GalleryError(f"the gallery is damaged: {error}; build it again") from error

    def has_leftovers(self, state: str, *, last_key: int) -> bool:  # noqa: ARG002  (all in files)
        """Whether there are files that the state does not need."""
        return bool(self._leftovers(RowsState.parsed(state)))

    def tidy(self, state: str, *, last_key: int) -> None:  # noqa: ARG002  (all in files)
        """Delete such files."""
        for path in self._leftovers(RowsState.parsed(state)):
            path.unlink(missing_ok=True)
        sync_folder(self._folder)

    def prepare(self, state: str) -> bool:
        """Build the index; see the port."""
        now = RowsState.parsed(state)
        return bool(now.num_rows) and self._index.build(now, self._files.mapped(now))

    def keep_prepared(self, state: str) -> None:
        """Write the index."""
        self._index.write(RowsState.parsed(state))

    def faults(self, state: str) -> Iterator[str]:
        """Compare index files with their checksums."""
        return self._index.find_faults(RowsState.parsed(state).generation)

    def close(self) -> None:
        """Release files."""
        self._index.forget()
        self._files.forget()

    def _leftovers(self, now: RowsState) -> list[Path]:
        # An unfinished file of an index of this generation is left over, too: as long as it is
        # being written, the writer's lock keeps others from deleting it.
        needed = {now.vectors_name, now.keys_name}
        left = [path for path in all_files_of_ours(self._folder) if path.name not in needed]
        indexes = {one.path for one in self._index.files(now.generation)} if left else ()
        return [path for path in left if path not in indexes]


def all_files_of_ours(folder: Path) -> list[Path]:
    """List files of vectors, keys and indexes, needed or not."""
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if _OURS.fullmatch(entry.name)]
