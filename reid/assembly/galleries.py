"""Galleries by the names that settings use, and which encoder fills them."""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import Tensor

from reid.adapters.datasets.pictures import open_pictures
from reid.adapters.encoders.exported import ExportedEncoder
from reid.adapters.galleries.cache import GalleryCache
from reid.adapters.galleries.filesystem.gallery import DATABASE, open_filesystem_gallery
from reid.adapters.vectors_file import read_vectors
from reid.domain.errors import ConfigurationError, GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.checkpoints import digest_of
from reid.domain.values.durations import time_text
from reid.domain.values.encoders import Tower
from reid.domain.values.galleries import EncoderStamp
from reid.ports.dataset import PictureSource
from reid.ports.encoder import Encoder
from reid.ports.vector_index import VectorIndex
from reid.settings.schema import GallerySettings

FILESYSTEM = "filesystem"


def encoder_stamp(encoder: Encoder | ExportedEncoder) -> EncoderStamp:
    """Tell which encoder makes vectors, cameras left out.

    An exported one goes with the one that it was exported from: they were compared then.
    """
    description = encoder.description
    if isinstance(encoder, ExportedEncoder):
        digest = encoder.weights_digest
    else:
        digest = digest_of(encoder.state_of(Tower.IMAGE))
    return EncoderStamp(
        name=description.name,
        weights=description.weights,
        digest=digest,
        width=encoder.geometry.embedding_width,
        options=description.options,
    )


def is_gallery(
    settings: GallerySettings,
    name: str,
    *,
    otherwise: str = "a folder or .csv list of labelled pictures",
) -> bool:
    """Tell a gallery from what can stand in its place, by its name.

    Args:
        settings: Tell the kind of gallery.
        name: Of it.
        otherwise: What can stand in its place.

    Raises:
        GalleryError: There is neither.
    """
    is_there = Path(name).exists()
    if settings.kind != FILESYSTEM:
        return not is_there
    if not is_there:
        raise GalleryError(
            f"{name} does not exist: make a gallery by `reid gallery build {name} PICTURES`, or "
            f"give {otherwise}"
        )
    return (Path(name) / DATABASE).is_file()


def open_gallery(
    settings: GallerySettings,
    built_in: Mapping[str, Callable[..., Gallery]],
    name: str,
    *,
    create: bool,
) -> Gallery:
    """Open a gallery of the kind that settings name.

    Args:
        settings: Tell the kind.
        built_in: Factories by kind: of the name, and of `create`.
        name: A folder, or what else the kind calls a gallery.
        create: Make an empty gallery where there is none.

    Raises:
        ConfigurationError: Nobody offers this kind.
        GalleryError: It is missing or cannot be opened.
    """
    if settings.kind not in built_in:
        raise ConfigurationError(
            f"gallery.kind: no {settings.kind!r}; there are: {', '.join(sorted(built_in))}"
        )
    return built_in[settings.kind](name, create=create)


def open_folder(name: str, *, create: bool, create_index: Callable[[], VectorIndex]) -> Gallery:
    """Open a gallery in a folder of its own.

    Raises:
        GalleryError: It is missing or damaged, or the folder to be made holds other things.
    """
    folder = Path(name)
    if create and not (folder / DATABASE).is_file():
        _require_vacant(folder)
    return open_filesystem_gallery(folder, create=create, create_index=create_index)


def read_gallery_vectors(
    is_gallery: Callable[..., bool], open_gallery: Callable[..., Gallery], name: str
) -> Tensor:
    """Read the vectors of a gallery, or of .npy files.

    Args:
        is_gallery: Tells a gallery by its name.
        open_gallery: Opens it.
        name: Of a gallery, of a folder of files, or of one.

    Returns:
        (G, D) float32, rows of unit L2 norm.

    Raises:
        GalleryError: The gallery cannot be read.
        VectorIndexError: The files cannot.
    """
    if not is_gallery(name, otherwise="a folder of .npy files of vectors"):
        return read_vectors(Path(name))
    with closing(open_gallery(name, create=False)) as gallery:
        return gallery.vectors([picture.key for picture in gallery.pictures()])


def open_source(name: str) -> PictureSource | None:
    """Open the pictures from which a gallery was filled; None where they are gone."""
    return open_pictures(Path(name)) if Path(name).exists() else None


def open_cache(
    settings: GallerySettings,
    open_memory: Callable[[], Gallery],
    create_index: Callable[[], VectorIndex],
    name: str,
    stamp: EncoderStamp,
) -> Gallery:
    """Open the gallery in which the vectors of a folder or list of pictures wait for the next run.

    Args:
        settings: Tell whether and where.
        open_memory: Opens one that waits for nobody.
        create_index: Makes the index that searches.
        name: The folder or list.
        stamp: Encoder; another one has a gallery of its own.

    Raises:
        GalleryError: It cannot be written.
    """
    if not settings.use_cache:
        return open_memory()
    origin = json.dumps([str(Path(name).resolve()), _decisive(stamp)], sort_keys=True)
    folder = cache_folder(settings) / sha256(origin.encode()).hexdigest()[:32]
    try:
        # Vectors of people's pictures are nobody else's business.
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_filesystem_gallery(folder, create=True, create_index=create_index)
    except (OSError, GalleryError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise GalleryError(
            f"the cache {folder} cannot be used ({reason}): remove it, name another by "
            "gallery.cache, or do without by gallery.use_cache=false"
        ) from error


def create_gallery_cache(
    settings: GallerySettings, create_index: Callable[[], VectorIndex]
) -> GalleryCache:
    """Take the cache that `open_cache` uses, also where it is switched off now."""
    return GalleryCache(cache_folder(settings), create_index=create_index)


def _decisive(stamp: EncoderStamp) -> dict[str, Any]:
    """Put a stamp as JSON, less what decides no vector."""
    return {key: value for key, value in asdict(stamp).items() if key not in ("name", "weights")}


def cache_folder(settings: GallerySettings) -> Path:
    """Tell where vectors of plain folders are kept: as set, or the user's cache folder."""
    if settings.cache is not None:
        return settings.cache
    named = os.environ.get("XDG_CACHE_HOME", "")
    # Paths in it must be absolute, says the XDG base directory specification.
    return (Path(named) if Path(named).is_absolute() else Path.home() / ".cache") / "reid"


def _require_vacant(folder: Path) -> None:
    """Keep galleries apart from pictures and other files."""
    if folder.exists() and not folder.is_dir():
        raise GalleryError(f"{folder} is a file: name a folder for the gallery")
    if folder.is_dir() and any(folder.iterdir()):
        raise GalleryError(
            f"{folder} holds other files and no gallery: name a new folder for the gallery"
        )


def utc_now() -> str:
    """Tell the time as galleries write it."""
    return time_text(datetime.now(UTC))
