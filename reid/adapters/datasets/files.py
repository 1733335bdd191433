"""Datasets of image files under one folder: a layout finds the folder and lists the splits."""

import os
from functools import cached_property
from pathlib import Path

from reid.adapters.images.contents import ImageFiles
from reid.adapters.images.files import image_names
from reid.domain.errors import DatasetError
from reid.domain.services.lists import ListedDataset
from reid.domain.values.samples import SampleList, Split


class FilesDataset(ListedDataset):
    """A dataset under a folder; a layout overrides `_holds`, `_list` and the texts."""

    title: str  # name of the dataset in messages
    known_roots: tuple[str, ...] = ()  # usual names of its folder, in the order of the search
    expected: str  # which images a split consists of, for messages
    needs: str  # what its folder holds, for messages

    def __init__(self, root: Path, *, variant: str = "") -> None:
        """Keep the folder, or its parent where the folder has one of the usual names.

        `variant` tells in reports which of several datasets in one folder this is.
        """
        self._given = root
        # The folder's own name, so that a look-alike is not reported as the original.
        # `Path.resolve` would raise where links go in a circle.
        own = Path(os.path.realpath(root)).name
        super().__init__(
            f"{own} ({variant})" if variant else own,
            reader=ImageFiles(lambda: self.root),
            list_split=self._list,
        )

    @cached_property
    def root(self) -> Path:
        """The folder that names of images start from; DatasetError where there is none."""
        return self._find_root(self._given)

    def _holds(self, folder: Path) -> bool:
        raise NotImplementedError

    def _list(self, split: Split) -> SampleList:
        """List a split; DatasetError where a folder or file is missing or cannot be read."""
        raise NotImplementedError

    def _find_root(self, given: Path) -> Path:
        """Find the dataset's folder: the given one, or one under a usual name in it."""
        if not given.is_dir():
            problem = "is not a folder" if given.exists() else "does not exist"
            raise DatasetError(
                f"the dataset folder {given} {problem}; give the folder that holds {self.needs}"
            )
        for candidate in (given, *(given / name for name in self.known_roots)):
            if self._holds(candidate):
                return candidate
        raise DatasetError(
            f"no {self.title} in {given}: looked for {self.needs} there and in its sub-folders "
            f"{', '.join(self.known_roots)}"
        )

    def _image_names(self, folder: Path) -> list[str]:
        try:
            return list(image_names(folder, below=False))
        except OSError as error:
            raise DatasetError(
                f"{folder} cannot be listed: {error.strerror}; {self.title} needs {self.needs} in "
                f"{self.root}"
            ) from error
