"""Images for `identify`: a folder, a folder per person, a CSV, or a single file."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.files import IMAGE_ENDINGS, is_image_name, readable_name
from reid.adapters.images.market_names import FOLDERS, holds_market1501, parse_market_name
from reid.adapters.images.tables import read_table, refuse_repeats
from reid.domain.errors import DatasetError
from reid.domain.services.lists import ListedImages
from reid.domain.values.samples import JUNK_PID, ListedImage, Split
from reid.ports.dataset import ImageSource

REQUIRED_COLUMNS = ("path", "label")
"""Columns that a CSV must have; `camera` may follow, others are ignored."""

KEPT_BYTES = 256 * 2**20
"""How many decoded images wait in memory between being checked and being read."""


def open_images(path: Path) -> ImageSource:
    """Find out which layout a path has: a CSV, one image, or a folder.

    Args:
        path: A file that ends in `.csv`; an image; or a folder, see `list_folder`.

    Returns:
        A source that lists and reads on demand, so a missing folder shows when it is listed.
    """
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return _source(path.parent, lambda: list_table(path))
    if _is_one_image(path):
        return _source(path.parent, lambda: (_image(readable_name(path.name)),))
    return _source(path, lambda: list_folder(path))


def open_followed(path: Path) -> ImageSource:
    """Open what a gallery can follow: a folder or a CSV; see `open_images`.

    Raises:
        DatasetError: It is one image. Its neighbours are of the same source, and would leave the
            gallery as if they had vanished.
    """
    if _is_one_image(path):
        raise DatasetError(
            f"{path} is one image, and a gallery follows a folder or a .csv list: add it instead"
        )
    return open_images(path)


def list_folder(root: Path) -> tuple[ListedImage, ...]:
    """List all images in a folder and its sub-folders, sorted by name.

    An image in a sub-folder is of the person after whom the (outermost) sub-folder is called. One
    that lies directly in the folder is of the person whom its Market-1501 name tells, written
    `0002`; distractors are kept as `0000`, since they are people whom nobody asks for, and junk
    (-1) is left out. Other names tell nobody: the label is None. Cameras come from Market-1501
    names alone (`c1` is "1"). Dot files and dot folders are passed over.

    Raises:
        DatasetError: The folder is missing, holds no image, or is a whole Market-1501.
    """
    if not root.is_dir():
        raise DatasetError(
            f"{root} is not a folder of images, an image ({_endings()}) or a .csv list"
            if root.exists()
            else f"{root} does not exist; give a folder of images, an image or a .csv list"
        )
    if holds_market1501(root):
        raise DatasetError(
            f"{root} is a whole Market-1501, not a list of images; give one of its folders, for "
            f"example {root / FOLDERS[Split.GALLERY]}"
        )
    names = [name for name in sorted(_walk(root)) if not _is_junk(name)]
    if not names:
        raise DatasetError(f"{root} holds no image ({_endings()}), nor do its sub-folders")
    return tuple(_image(name) for name in names)


def list_table(path: Path) -> tuple[ListedImage, ...]:
    """List the images of a CSV with the columns path, label and, if wanted, camera.

    Paths start from the CSV's folder, separated by `/`, and stay below it; an empty label or
    camera is None, and blanks around cells are no part of them. The answer is sorted by path.

    Raises:
        DatasetError: The file cannot be read, has no such header, no rows, or a row that names a
            image by an absolute path, outside the folder, twice, or not there; tells the line.
    """
    rows = read_table(path, columns=REQUIRED_COLUMNS, header="path,label or path,label,camera")
    refuse_repeats(rows, lambda row: row.name)
    images = [
        ListedImage(
            name=row.name, label=row.cell("label") or None, camera=row.cell("camera") or None
        )
        for row in rows
    ]
    return tuple(sorted(images, key=lambda image: image.name))


def _source(root: Path, list_images: Callable[[], Sequence[ListedImage]]) -> ImageSource:
    return ListedImages(
        # As the folder is called from everywhere. `Path.resolve` raises where links go in a circle.
        readable_name(os.path.realpath(root)),
        # `identify` looks for damaged images first, then reads the others.
        reader=ImageFiles(root, num_kept_bytes=KEPT_BYTES),
        list_images=list_images,
    )


def _is_one_image(path: Path) -> bool:
    return path.is_file() and is_image_name(path.name)


def _walk(root: Path) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root, onerror=_refuse_unlisted):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        below = Path(folder).relative_to(root)
        for name in filter(is_image_name, files):
            yield readable_name((below / name).as_posix())
        # Listed, so that it is refused aloud: somebody takes it for an image.
        if not files and not subfolders and is_image_name(below.name):
            yield readable_name(below.as_posix())


def _refuse_unlisted(error: OSError) -> NoReturn:
    """Differs from what os.walk does by itself: it passes such folders over without a word."""
    raise DatasetError(
        f"{error.filename} cannot be listed: {error.strerror}; make it readable, or move it away"
    ) from error


def _is_junk(name: str) -> bool:
    parsed = parse_market_name(name)
    return "/" not in name and parsed is not None and parsed.pid == JUNK_PID


def _image(name: str) -> ListedImage:
    folders, _, file = name.rpartition("/")
    person = folders.partition("/")[0]
    parsed = parse_market_name(file)
    if parsed is None:
        return ListedImage(name=name, label=person or None)
    return ListedImage(name=name, label=person or f"{parsed.pid:04d}", camera=str(parsed.camid + 1))


def _endings() -> str:
    return " ".join(sorted(IMAGE_ENDINGS))
