"""Images for `identify`: a folder, a folder per person, a CSV, or a single file."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.files import IMAGE_ENDINGS, image_names, is_image_name, readable_name
from reid.adapters.images.market_names import FOLDERS, holds_market1501, parse_market_name
from reid.adapters.images.tables import read_table
from reid.domain.errors import DatasetError
from reid.domain.services.lists import ListedImages
from reid.domain.values.samples import JUNK_PID, ListedImage, Split
from reid.ports.dataset import ImageSource

REQUIRED_COLUMNS = ("path", "label")
"""Columns that a CSV must have; `camera` may follow, others are ignored."""

KEPT_BYTES = 256 * 2**20  # memory for decoded images between checking and reading them
_ENDINGS = " ".join(sorted(IMAGE_ENDINGS))


def open_images(path: Path) -> ImageSource:
    """Open a `.csv` file, an image, or a folder (see `list_folder`).

    The source lists and reads on demand, so a missing folder shows when it is listed.
    """
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return _source(path.parent, lambda: list_table(path))
    if _is_one_image(path):
        return _source(path.parent, lambda: (_image(readable_name(path.name)),))
    return _source(path, lambda: list_folder(path))


def open_followed(path: Path) -> ImageSource:
    """Open what a gallery can follow: a folder or a CSV; see `open_images`.

    Raises:
        DatasetError: It is one image, whose neighbours, of the same source, would be removed.
    """
    if _is_one_image(path):
        raise DatasetError(
            f"{path} is one image, and a gallery follows a folder or a .csv list: add it instead"
        )
    return open_images(path)


def list_folder(root: Path) -> tuple[ListedImage, ...]:
    """List all images in a folder and its sub-folders, sorted by name.

    The label of an image in a sub-folder is the name of the outermost sub-folder. Directly in the
    folder it is the person in the image's Market-1501 name, written `0002`; distractors are kept as
    `0000`, and junk (-1) is left out. The label of other names is None. Cameras come from
    Market-1501 names alone (`c1` is "1"). Dot files and dot folders are ignored.

    Raises:
        DatasetError: The folder is missing, holds no image, or is a whole Market-1501.
    """
    if not root.is_dir():
        raise DatasetError(
            f"{root} is not a folder of images, an image ({_ENDINGS}) or a .csv list"
            if root.exists()
            else f"{root} does not exist; give a folder of images, an image or a .csv list"
        )
    if holds_market1501(root):
        raise DatasetError(
            f"{root} is a whole Market-1501, not a list of images; give one of its folders, for "
            f"example {root / FOLDERS[Split.GALLERY]}"
        )
    try:
        names = [name for name in sorted(image_names(root, below=True)) if not _is_junk(name)]
    except OSError as error:
        raise DatasetError(
            f"{error.filename} cannot be listed: {error.strerror}; make it readable, or move it "
            "away"
        ) from error
    if not names:
        raise DatasetError(f"{root} holds no image ({_ENDINGS}), nor do its sub-folders")
    return tuple(map(_image, names))


def list_table(path: Path) -> tuple[ListedImage, ...]:
    """List the images of a CSV with the columns path, label and, if wanted, camera.

    An empty label or camera is None. The result is sorted by path; see `read_table` for errors.
    """
    header = "path,label or path,label,camera"
    rows = read_table(path, columns=REQUIRED_COLUMNS, header=header, once=lambda row: row.name)
    images = (
        ListedImage(row.name, row.cell("label") or None, row.cell("camera") or None) for row in rows
    )
    return tuple(sorted(images, key=lambda image: image.name))


def _source(root: Path, list_images: Callable[[], Sequence[ListedImage]]) -> ImageSource:
    return ListedImages(
        # The folder's absolute path. `Path.resolve` raises where links go in a circle.
        readable_name(os.path.realpath(root)),
        # `identify` checks all images first, then reads the good ones.
        reader=ImageFiles(root, num_kept_bytes=KEPT_BYTES),
        list_images=list_images,
    )


def _is_one_image(path: Path) -> bool:
    return path.is_file() and is_image_name(path.name)


def _is_junk(name: str) -> bool:
    parsed = parse_market_name(name)
    return "/" not in name and parsed is not None and parsed.pid == JUNK_PID


def _image(name: str) -> ListedImage:
    folders, _, file = name.rpartition("/")
    person = folders.partition("/")[0]
    parsed = parse_market_name(file)
    if parsed is None:
        return ListedImage(name, person or None)
    return ListedImage(name, person or f"{parsed.pid:04d}", camera=str(parsed.camid + 1))
