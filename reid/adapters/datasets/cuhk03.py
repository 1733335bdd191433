"""CUHK03 (Li et al. 2014) by the new protocol (Zhong et al. 2017), as folders of images."""

import re
from pathlib import Path
from typing import Literal, TypeAlias

from reid.adapters.datasets.files import FolderPerSplit
from reid.adapters.images.market_names import holds_market1501, parse_market_name
from reid.domain.values.samples import Annotation

Boxes: TypeAlias = Literal["detected", "labeled"]

_PAIR_PATTERN = re.compile(r"([1-9])_(\d{3})_([12])_\d+", re.ASCII)
"""Pair of cameras, person within the pair, view, image."""


class Cuhk03(FolderPerSplit):
    """The three lists of CUHK03's new protocol, for boxes cut by a detector or by hand.

    The folder `detected` or `labeled` holds the folders of Market-1501's layout. Names are
    `0001_c1_1.png` (person 1, first view) or, as in the original data, `1_001_1_01.png` (camera
    pair 1, its person 1, first view, image 1). In both, the camera is the view: the new protocol
    has two.

    Published (CUHK03-NP, Zhong et al. 2017, arXiv:1701.08398): 767 identities to train on, 700
    tested with 1,400 queries. Detected: 7,365 training and 5,332 gallery images; labeled: 7,368 and
    5,328.
    """

    known_roots = ("CUHK03-NP", "cuhk03-np", "CUHK03", "cuhk03")
    expected = "named like 0001_c1_1.png"

    def __init__(self, root: Path, *, boxes: Boxes = "detected") -> None:
        """Keep the folder; nothing is read yet.

        Args:
            root: The folder that holds `detected` and `labeled`, its parent where it has one of the
                usual names, or the folder of the boxes itself.
            boxes: Which of the two to list.
        """
        super().__init__(root, variant=boxes)
        self._boxes = boxes
        self.title = f"CUHK03 ({boxes})"
        self.needs = f"the folder {boxes} with bounding_box_train, query and bounding_box_test"

    def _find_root(self, given: Path) -> Path:
        """Find the folder of these boxes, which must have their name."""
        itself = given.resolve()
        is_boxes = itself.name == self._boxes and holds_market1501(itself)
        return super()._find_root(itself.parent if is_boxes else given) / self._boxes

    def _holds(self, folder: Path) -> bool:
        return holds_market1501(folder / self._boxes)

    def _parse(self, name: str) -> Annotation | None:
        return parse_cuhk03_name(name)


def parse_cuhk03_name(name: str) -> Annotation | None:
    """Read a file name in either form; None where it follows neither.

    Person 1 of camera pair 2 gets the pid 2001: no pair has a thousand people.
    """
    match = _PAIR_PATTERN.match(name)
    if match is None:
        return parse_market_name(name)
    pair, person, view = (int(part) for part in match.groups())
    return Annotation(pid=1000 * pair + person, camid=view - 1)
