"""Market-1501 (Zheng et al. 2015), and any folder laid out like it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reid.adapters.datasets.listed import (
    ListedDataset,
    Listing,
    Passage,
    find_folder,
    picture_names,
    sort_out,
)
from reid.adapters.datasets.market_names import parse_market_name
from reid.domain.values.samples import Split

FOLDERS = {
    Split.TRAIN: "bounding_box_train",
    Split.QUERY: "query",
    Split.GALLERY: "bounding_box_test",
}
"""Where each split lies under the data set's folder."""

KNOWN_ROOTS = ("Market-1501-v15.09.15", "Market-1501", "Market1501", "market1501", "Market")
"""Names under which the data set is unpacked, in the order in which they are looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderLayout:
    """A folder per split, in which every picture's name tells person and camera."""

    title: str
    known_roots: tuple[str, ...]
    example: str = "0002_c1s1_000451_03.jpg"
    parse: Callable[[str], Passage | None] = parse_market_name

    def describe(self, split: Split) -> str:  # noqa: ARG002  (the same in every split)
        """Show a name."""
        return f"named like {self.example}"

    def find_root(self, given: Path) -> Path:
        """Find the folder that holds the three folders.

        Raises:
            DatasetError: It is neither the given one nor one of a usual name in it.
        """
        return find_folder(
            given, self.known_roots, holds=holds_market1501, title=self.title, needs=_needs()
        )

    def list_split(self, root: Path, split: Split) -> Listing:
        """List a split's folder.

        Raises:
            DatasetError: It is missing.
        """
        folder = root / FOLDERS[split]
        names = picture_names(folder, hint=f"{self.title} needs {_needs()} in {root}")
        parse = self.parse
        return sort_out(((f"{folder.name}/{name}", parse(name)) for name in names), place=folder)


class Market1501(ListedDataset):
    """The three lists of a folder in Market-1501's layout.

    pid 0 marks distractors in the gallery. In the training and query lists the data set has none;
    where another one does, its pictures are kept as those of one person, as CLIP-ReID keeps them,
    and the dataset check reports them.

    Published (Zheng et al. 2015): 751 identities in 12,936 training pictures; 750 in 3,368 queries;
    19,732 gallery files, of which 15,913 remain without junk, distractors included; 6 cameras.
    """

    def __init__(self, root: Path) -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: The folder that holds `bounding_box_train`, `query` and `bounding_box_test`, or
                its parent where the folder has one of the usual names.
        """
        super().__init__(root, layout=FolderLayout(title="Market-1501", known_roots=KNOWN_ROOTS))


def holds_market1501(folder: Path) -> bool:
    """Whether at least one of the three folders lies directly in `folder`.

    `query` alone does not count: any folder may be called that.
    """
    return any((folder / FOLDERS[split]).is_dir() for split in (Split.TRAIN, Split.GALLERY))


def _needs() -> str:
    return f"the folders {', '.join(FOLDERS.values())}"
