"""MSMT17 (Wei et al. 2018): folders of people, and text files that list the splits."""

import re
from collections.abc import Iterator
from pathlib import Path

from reid.adapters.datasets.files import FilesDataset
from reid.domain.errors import DatasetError
from reid.domain.values.samples import Annotation, SampleList, Split

_TEST_FOLDERS = ("test", "mask_test_v2", "mask_test_V2")
IMAGE_FOLDERS = {
    Split.TRAIN: ("train", "mask_train_v2", "mask_train_V2"),
    Split.QUERY: _TEST_FOLDERS,
    Split.GALLERY: _TEST_FOLDERS,
}
"""Folders of a split's images: of the first version, or of the second, whose faces are masked."""

LISTS = {split: f"list_{split}.txt" for split in Split}
VALIDATION_LIST = "list_val.txt"

TEST_PIDS_FROM = 10_001
"""The lists number training and test people from 0 each. Here they are 1, 2, ... and 10001, ...,
since pid 0 is a distractor and no person is in both."""

_LINE = re.compile(r"((?:\d+/)?\d+_\d+_(\d+)_[^/\s]+)\s+(\d+)", re.ASCII)
_EXAMPLE = "0000/0000_000_01_0303morning_0015_0.jpg 0"


class Msmt17(FilesDataset):
    """The three lists of MSMT17, in either version.

    Images are named `0000_000_01_0303morning_0015_0.jpg`: person, image, camera (1 to 15), time.
    The person is taken from the lists. As in the paper and in CLIP-ReID, training includes the
    validation list by default. Scores with and without it are not comparable, nor are those of the
    two versions (the second masks faces).

    Published (Wei et al. 2018, arXiv:1711.08565): 1,041 identities in 32,621 training images,
    validation included; 3,060 in 11,659 queries; 82,161 gallery images; 15 cameras.
    """

    title = "MSMT17"
    known_roots = ("MSMT17_V1", "MSMT17_V2", "MSMT17", "msmt17")
    expected = f"named like {_EXAMPLE}"
    needs = f"{', '.join(LISTS.values())} and the folders train and test (or mask_train_v2, ...)"

    def __init__(self, root: Path, *, train_on_val: bool = True) -> None:
        """Keep the folder; `train_on_val` adds the validation list to the training list."""
        super().__init__(root, variant="" if train_on_val else "without val")
        self._train_on_val = train_on_val

    def _find_root(self, given: Path) -> Path:
        versions = [given / name for name in self.known_roots[:2] if self._holds(given / name)]
        if len(versions) > 1:
            raise DatasetError(
                f"{given} holds two versions of MSMT17, whose scores differ; give one of them: "
                f"{' or '.join(map(str, versions))}"
            )
        return super()._find_root(given)

    def _holds(self, folder: Path) -> bool:
        has_list = any((folder / name).is_file() for name in LISTS.values())
        names = {name for folders in IMAGE_FOLDERS.values() for name in folders}
        return has_list and any((folder / name).is_dir() for name in names)

    def _list(self, split: Split) -> SampleList:
        lists = [self.root / LISTS[split]]
        if split is Split.TRAIN and self._train_on_val:
            lists.append(self.root / VALIDATION_LIST)
        folder = _image_folder(self.root, split)
        first_pid = 1 if split is Split.TRAIN else TEST_PIDS_FROM
        named = (
            _parse_line(line, folder=folder, first_pid=first_pid)
            for path in lists
            for line in _lines(path)
        )
        return SampleList.sorted_out(named, place=str(lists[0]), expected=self.expected)


def _image_folder(root: Path, split: Split) -> str:
    for name in IMAGE_FOLDERS[split]:
        if (root / name).is_dir():
            return name
    raise DatasetError(
        f"{root} has none of the folders {', '.join(IMAGE_FOLDERS[split])}; unpack MSMT17's "
        f"{split} images there"
    )


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        hint = "; to train without it, set dataset.msmt17.train_on_val=false"
        raise DatasetError(
            f"{path} cannot be read: {reason}; MSMT17 needs lists of lines such as "
            f"{_EXAMPLE!r}{hint if path.name == VALIDATION_LIST else ''}"
        ) from error
    return (line for line in map(str.strip, text.splitlines()) if line)


def _parse_line(line: str, *, folder: str, first_pid: int) -> tuple[str, Annotation | None]:
    """Return an image's name under the root and its annotation, or None where the line is odd."""
    match = _LINE.fullmatch(line)
    if match is None or int(match[2]) == 0 or int(match[3]) >= TEST_PIDS_FROM - 1:
        return f"{folder}/{line}", None
    return f"{folder}/{match[1]}", Annotation(first_pid + int(match[3]), int(match[2]) - 1)
