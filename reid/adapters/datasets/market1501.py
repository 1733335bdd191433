"""Market-1501, and the datasets that share its layout: a folder per split, names that tell all."""

import re
from pathlib import Path
from typing import Literal

from reid.adapters.datasets.files import FilesDataset
from reid.adapters.images.market_names import FOLDERS, holds_market1501, parse_market_name
from reid.domain.values.samples import Annotation, SampleList, Split

_CUHK03_PAIR = re.compile(r"([1-9])_(\d{3})_([12])_\d+", re.ASCII)
"""Pair of cameras, person within the pair, view, image."""


class FolderPerSplit(FilesDataset):
    """Market-1501's layout; override `_parse` for other names."""

    needs = f"the folders {', '.join(FOLDERS.values())}"

    def _holds(self, folder: Path) -> bool:
        return holds_market1501(folder)

    def _parse(self, name: str) -> Annotation | None:
        return parse_market_name(name)

    def _list(self, split: Split) -> SampleList:
        folder = self.root / FOLDERS[split]
        names = self._image_names(folder)
        found = ((f"{folder.name}/{name}", self._parse(name)) for name in names)
        return SampleList.sorted_out(found, place=str(folder), expected=self.expected)


class Market1501(FolderPerSplit):
    """Market-1501 (Zheng et al. 2015), and any folder laid out like it.

    pid 0 marks distractors in the gallery. The data set has none in the training and query lists;
    those of another one are kept as one person, as in CLIP-ReID, and the dataset check reports
    them.

    Published (Zheng et al. 2015): 751 identities in 12,936 training images; 750 in 3,368 queries;
    19,732 gallery files, of which 15,913 remain without junk, distractors included; 6 cameras.
    """

    title = "Market-1501"
    known_roots = ("Market-1501-v15.09.15", "Market-1501", "Market1501", "market1501", "Market")
    expected = "named like 0002_c1s1_000451_03.jpg"


class DukeMtmc(FolderPerSplit):
    """DukeMTMC-reID (Ristani et al. 2016, Zheng et al. 2017).

    Names such as `0001_c2_f0046182.jpg`: person 1 in the second camera, frame 46182. The gallery's
    distractors (408 identities) have pids of their own, not 0.

    Published (Zheng et al. 2017, arXiv:1701.07717): 702 identities in 16,522 training images; 702
    in 2,228 queries; 17,661 gallery images; 8 cameras.
    """

    title = "DukeMTMC-reID"
    known_roots = ("DukeMTMC-reID", "DukeMTMC", "dukemtmc-reid", "dukemtmcreid", "dukemtmc", "duke")
    expected = "named like 0001_c2_f0046182.jpg"


class Cuhk03(FolderPerSplit):
    """CUHK03 (Li et al. 2014) by the new protocol, for boxes cut by a detector or by hand.

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

    def __init__(self, root: Path, *, boxes: Literal["detected", "labeled"] = "detected") -> None:
        """Keep the folder of the chosen `boxes`, the folder above it, or that one's parent."""
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
    """Read a file name of CUHK03 in either form; None where it follows neither.

    Person 1 of camera pair 2 gets the pid 2001: no pair has a thousand people.
    """
    match = _CUHK03_PAIR.match(name)
    if match is None:
        return parse_market_name(name)
    pair, person, view = (int(part) for part in match.groups())
    return Annotation(pid=1000 * pair + person, camid=view - 1)
