"""Market-1501's folders and file names: `0002_c1s1_000451_03.jpg` is person 2 in camera 1."""

import re
from pathlib import Path

from reid.domain.values.samples import JUNK_PID, Annotation, Split

FOLDERS = {
    Split.TRAIN: "bounding_box_train",
    Split.QUERY: "query",
    Split.GALLERY: "bounding_box_test",
}
"""Where each split lies under the data set's folder."""

_PATTERN = re.compile(r"([-\d]+)_c(\d+)", re.ASCII)
"""Differs from CLIP-ReID: `c(\\d)` there reads camera 10 as camera 1, and the name may begin with
anything; here a name that begins otherwise is reported."""


def parse_market_name(name: str) -> Annotation | None:
    """Read a file name; None where it does not follow Market-1501.

    Persons below -1 and a camera `c0` do not exist in the data set, so their names are not parsed.
    """
    match = _PATTERN.match(name)
    if match is None:
        return None
    try:
        pid, camid = int(match[1]), int(match[2]) - 1
    except ValueError:  # "1-2", "--1"
        return None
    return Annotation(pid, camid) if pid >= JUNK_PID and camid >= 0 else None


def holds_market1501(folder: Path) -> bool:
    """Whether at least one of the three folders lies directly in `folder`.

    `query` alone does not count: any folder may be called that.
    """
    return any((folder / FOLDERS[split]).is_dir() for split in (Split.TRAIN, Split.GALLERY))
