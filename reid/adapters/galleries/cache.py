"""Cached galleries: vectors of plain folders and lists, kept for the next query until cleared."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from reid.adapters.galleries.filesystem.gallery import (
    DATABASE,
    all_files_of_ours,
    open_filesystem_gallery,
)
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.durations import time_text
from reid.domain.values.galleries import CacheContent, CachedGallery, EncoderFingerprint
from reid.ports.vector_index import VectorIndex

NAME = re.compile(r"[0-9a-f]{32}")
"""Name of a gallery's folder: a digest of its sources and encoder."""


class GalleryCache:
    """Opens, lists and clears cached galleries; nothing else in the folder is touched."""

    def __init__(self, folder: Path, *, create_index: Callable[[], VectorIndex]) -> None:
        """Keep the parts; `folder` holds a folder per gallery and need not exist."""
        self._folder = folder
        self._create_index = create_index

    def open(self, name: str, fingerprint: EncoderFingerprint) -> Gallery:
        """Open the gallery of a folder or list of images, one per encoder.

        Raises:
            GalleryError: It cannot be written.
        """
        # Names decide no vector.
        encoder = {k: v for k, v in asdict(fingerprint).items() if k not in ("name", "weights")}
        origin = json.dumps([str(Path(name).resolve()), encoder], sort_keys=True)
        place = self._folder / sha256(origin.encode()).hexdigest()[:32]
        try:
            # Vectors of people's images are personal data.
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._opened(place, create=True)
        except (OSError, GalleryError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise GalleryError(
                f"the cache {place} cannot be used ({reason}): remove it, name another by "
                "`gallery.cache = DIR`, or do without (`gallery.use_cache = false`)"
            ) from error

    def list(self) -> CacheContent:
        """List the cached galleries, the last changed first.

        Raises:
            GalleryError: The folder cannot be read.
        """
        try:
            listed = [self._described(place) for place in self._places()]
        except OSError as error:
            raise self._unusable(error) from error
        found = [gallery for gallery in listed if gallery is not None]
        found.sort(key=lambda one: (one.changed_at, one.place), reverse=True)
        return CacheContent(place=str(self._folder), galleries=tuple(found))

    def clear(self) -> CacheContent:
        """Delete all galleries, damaged ones included, and return what they were.

        Raises:
            GalleryError: A file cannot be deleted.
        """
        content = self.list()
        try:
            for gallery in content.galleries:
                shutil.rmtree(gallery.place, onerror=_unless_gone)
        except OSError as error:
            raise self._unusable(error) from error
        return content

    def _places(self) -> Iterator[Path]:
        if not self._folder.is_dir():
            return
        for place in self._folder.iterdir():
            if NAME.fullmatch(place.name) and _holds_vectors(place):
                yield place

    def _described(self, place: Path) -> CachedGallery | None:
        """Describe a gallery; None where it was cleared meanwhile."""
        sources: tuple[str, ...] = ()
        num_images = None
        with suppress(GalleryError), closing(self._opened(place, create=False)) as gallery:
            images = gallery.images()
            sources, num_images = tuple(sorted({image.source for image in images})), len(images)
        facts = list(_facts_of_files(place))
        if not facts:
            return None
        changed = max(fact.st_mtime for fact in facts)
        return CachedGallery(
            place=str(place),
            sources=sources,
            num_images=num_images,
            num_bytes=sum(fact.st_size for fact in facts),
            changed_at=time_text(datetime.fromtimestamp(changed, UTC)),
        )

    def _opened(self, place: Path, *, create: bool) -> Gallery:
        return open_filesystem_gallery(place, create=create, create_index=self._create_index)

    def _unusable(self, error: OSError) -> GalleryError:
        return GalleryError(
            f"the cache {self._folder} cannot be read or cleared ({error.filename}: "
            f"{error.strerror}): mend its permissions, or delete the folder yourself"
        )


def _holds_vectors(place: Path) -> bool:
    """Whether there is a gallery, or the rest of one whose clearing was interrupted."""
    with suppress(NotADirectoryError, FileNotFoundError):
        return (place / DATABASE).is_file() or bool(all_files_of_ours(place))
    return False


def _facts_of_files(place: Path) -> Iterator[os.stat_result]:
    """Look at files, which other processes can delete at any moment."""
    with suppress(FileNotFoundError):
        for path in place.iterdir():
            with suppress(FileNotFoundError):
                yield path.stat()


def _unless_gone(
    _function: object, _path: str, problem: tuple[type[BaseException], BaseException, object]
) -> None:
    """Go on where another process has deleted a file."""
    if not isinstance(problem[1], FileNotFoundError):
        raise problem[1]
