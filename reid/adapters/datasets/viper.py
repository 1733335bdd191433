"""VIPeR (Gray and Tao 2008): two cameras, one picture of each person in either."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from reid.adapters.datasets.listed import (
    ListedDataset,
    Listing,
    Passage,
    find_folder,
    picture_names,
    sort_out,
)
from reid.domain.values.samples import Split

KNOWN_ROOTS = ("VIPeR", "VIPeR.v1.0", "viper/VIPeR", "viper")
"""Names under which the data set is unpacked, in the order in which they are looked for."""

CAMERAS = ("cam_a", "cam_b")

_PATTERN = re.compile(r"(\d+)_\d+\.", re.ASCII)
_CAMERAS_OF = {Split.TRAIN: CAMERAS, Split.QUERY: CAMERAS[:1], Split.GALLERY: CAMERAS[1:]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _HalvesLayout:
    split_seed: int

    def describe(self, split: Split) -> str:  # noqa: ARG002  (the same in every split)
        return "named like 000_45.bmp"

    def find_root(self, given: Path) -> Path:
        return find_folder(
            given,
            KNOWN_ROOTS,
            holds=lambda folder: all((folder / camera).is_dir() for camera in CAMERAS),
            title="VIPeR",
            needs=f"the folders {' and '.join(CAMERAS)}",
        )

    def list_split(self, root: Path, split: Split) -> Listing:
        passages = {camera: dict(_passages(root, camera)) for camera in CAMERAS}
        people = {
            passage.pid for named in passages.values() for passage in named.values() if passage
        }
        wanted = training_half(people, seed=self.split_seed)
        if split is not Split.TRAIN:
            wanted = people - wanted
        return sort_out(
            (
                (image, passage)
                for camera in _CAMERAS_OF[split]
                for image, passage in passages[camera].items()
                # What tells nobody belongs to its camera's list, and to no training half.
                if (split is not Split.TRAIN if passage is None else passage.pid in wanted)
            ),
            place=root / _CAMERAS_OF[split][0],
        )


class Viper(ListedDataset):
    """One of VIPeR's random halves to train on, the other one to test with.

    The pictures lie in `cam_a` and `cam_b` and are called `000_45.bmp`: person 0, seen at 45
    degrees. Numbers begin at 0 and have gaps; pids are one more, since 0 means a distractor here.
    Queries are the first camera's pictures of the test half, the gallery is the second's.

    Published (Gray and Tao 2008): 632 people, 2 cameras, 1,264 pictures, so 316 people in each
    half. Scores are usually the mean of ten halves: evaluate with ten seeds.
    """

    def __init__(self, root: Path, *, split_seed: int = 0) -> None:
        """Remember where to look; nothing is read yet.

        Args:
            root: The folder that holds `cam_a` and `cam_b`, or its parent where the folder has one
                of the usual names.
            split_seed: Decides the halves, whatever the machine and the training seed.
        """
        layout = _HalvesLayout(split_seed=split_seed)
        super().__init__(root, layout=layout, variant=f"split {split_seed}")


def training_half(people: Iterable[int], *, seed: int) -> set[int]:
    """Draw half of the people, rounded down.

    By the order of hashes and not by a library's generator, so that a seed means the same half in
    every version of every library.
    """
    shuffled = sorted(set(people), key=lambda pid: sha256(f"{seed} {pid}".encode()).digest())
    return set(shuffled[: len(shuffled) // 2])


def _passages(root: Path, camera: str) -> Iterator[tuple[str, Passage | None]]:
    hint = f"VIPeR needs the folders {' and '.join(CAMERAS)} in {root}"
    for name in picture_names(root / camera, hint=hint):
        match = _PATTERN.match(name)
        passage = match and Passage(pid=int(match[1]) + 1, camid=CAMERAS.index(camera))
        yield f"{camera}/{name}", passage
