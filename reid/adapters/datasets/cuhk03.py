"""CUHK03 (Li et al. 2014) by the new protocol (Zhong et al. 2017), as folders of pictures."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from reid.adapters.datasets.listed import ListedDataset, Passage, find_folder
from reid.adapters.datasets.market1501 import FolderLayout, holds_market1501
from reid.adapters.datasets.market_names import parse_market_name

KNOWN_ROOTS = ("CUHK03-NP", "cuhk03-np", "CUHK03", "cuhk03")
"""Names under which the data set is unpacked, in the order in which they are looked for."""

Boxes: TypeAlias = Literal["detected", "labeled"]

_PAIR_PATTERN = re.compile(r"([1-9])_(\d{3})_([12])_\d+", re.ASCII)
"""Pair of cameras, person within the pair, view, picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _BoxesLayout(FolderLayout):
    boxes: Boxes

    def find_root(self, given: Path) -> Path:
        """Find the folder of these boxes; one that is called otherwise may hold the other ones."""
        itself = given.resolve()
        is_boxes = itself.name == self.boxes and holds_market1501(itself)
        return find_folder(
            itself.parent if is_boxes else given,
            self.known_roots,
            holds=lambda folder: holds_market1501(folder / self.boxes),
            title=f"CUHK03 ({self.boxes})",
            needs=f"the folder {self.boxes} with bounding_box_train, query and bounding_box_test",
        ).joinpath(self.boxes)


class Cuhk03(ListedDataset):
    """The three lists of CUHK03's new protocol, for boxes cut by a detector or by hand.

    In a folder `detected` or `labeled` lie the folders of Market-1501's layout. Names are
    `0001_c1_1.png` (person 1, first view) or, where they come from the original data,
    `1_001_1_01.png` (camera pair 1, person 1 of it, first view, picture 1). Either way the camera
    is the view: the new protocol counts two.

    Published (CUHK03-NP, Zhong et al. 2017, arXiv:1701.08398): 767 identities to train on, 700
    tested with 1,400 queries. Detected: 7,365 training and 5,332 gallery pictures; labeled: 7,368
    and 5,328.
    """

    def __init__(self, root: Path, *, boxes: Boxes = "detected") -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: The folder that holds `detected` and `labeled`, its parent where it has one of
                the usual names, or the folder of the boxes itself.
            boxes: Which of the two to list.
        """
        layout = _BoxesLayout(
            title="CUHK03",
            known_roots=KNOWN_ROOTS,
            example="0001_c1_1.png",
            parse=parse_cuhk03_name,
            boxes=boxes,
        )
        super().__init__(root, layout=layout, variant=boxes)


def parse_cuhk03_name(name: str) -> Passage | None:
    """Read a file name in either form; None where it follows neither.

    Person 1 of camera pair 2 gets the pid 2001: no pair has a thousand people.
    """
    match = _PAIR_PATTERN.match(name)
    if match is None:
        return parse_market_name(name)
    pair, person, view = (int(part) for part in match.groups())
    return Passage(pid=1000 * pair + person, camid=view - 1)
