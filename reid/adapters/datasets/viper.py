"""VIPeR (Gray and Tao 2008): two cameras, one image of each person in either."""

import re
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from reid.adapters.datasets.files import FilesDataset
from reid.domain.values.samples import Annotation, SampleList, Split

CAMERAS = ("cam_a", "cam_b")

_PATTERN = re.compile(r"(\d+)_\d+\.", re.ASCII)
_CAMERAS_OF = {Split.TRAIN: CAMERAS, Split.QUERY: CAMERAS[:1], Split.GALLERY: CAMERAS[1:]}


class Viper(FilesDataset):
    """One of VIPeR's random halves to train on, the other one to test with.

    The images lie in `cam_a` and `cam_b` and are named `000_45.bmp`: person 0, seen at 45 degrees.
    Numbers begin at 0 and have gaps; pids are one more, since 0 is a distractor here. Queries are
    the first camera's images of the test half, the gallery is the second's.

    Published (Gray and Tao 2008): 632 people, 2 cameras, 1,264 images, so 316 people in each half.
    Scores are usually the mean of ten halves: evaluate with ten seeds.
    """

    title = "VIPeR"
    known_roots = ("VIPeR", "VIPeR.v1.0", "viper/VIPeR", "viper")
    expected = "named like 000_45.bmp"
    needs = f"the folders {' and '.join(CAMERAS)}"

    def __init__(self, root: Path, *, split_seed: int = 0) -> None:
        """Keep the folder; `split_seed` decides the halves, whatever the training seed."""
        super().__init__(root, variant=f"split {split_seed}")
        self._split_seed = split_seed

    def _holds(self, folder: Path) -> bool:
        return all((folder / camera).is_dir() for camera in CAMERAS)

    def _list(self, split: Split) -> SampleList:
        annotations = {camera: dict(self._annotations(camera)) for camera in CAMERAS}
        people = {known.pid for named in annotations.values() for known in named.values() if known}
        wanted = training_half(people, seed=self._split_seed)
        if split is not Split.TRAIN:
            wanted = people - wanted
        return SampleList.sorted_out(
            (
                (name, annotation)
                for camera in _CAMERAS_OF[split]
                for name, annotation in annotations[camera].items()
                # Names that cannot be parsed are in their camera's list, but in no training half.
                if (split is not Split.TRAIN if annotation is None else annotation.pid in wanted)
            ),
            place=str(self.root / _CAMERAS_OF[split][0]),
            expected=self.expected,
        )

    def _annotations(self, camera: str) -> Iterator[tuple[str, Annotation | None]]:
        for name in self._image_names(self.root / camera):
            match = _PATTERN.match(name)
            known = match and Annotation(int(match[1]) + 1, CAMERAS.index(camera))
            yield f"{camera}/{name}", known


def training_half(people: Iterable[int], *, seed: int) -> set[int]:
    """Draw half of the people, rounded down.

    They are ordered by hashes and not by a library's generator, so that a seed means the same half
    in every version of every library.
    """
    shuffled = sorted(set(people), key=lambda pid: sha256(f"{seed} {pid}".encode()).digest())
    return set(shuffled[: len(shuffled) // 2])
