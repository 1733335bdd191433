"""Small datasets in the layouts of the public ones, names and folders as in the originals.

Each holds people of its own in two cameras, with as many images in each split as it says.
"""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

from tests.builders import SMALL, Painter

Shot = tuple[int, int, int]
"""Person from 0, camera from 0, image of this person in this camera."""


def shots(
    people: Iterable[int], *, cameras: int = 2, numbers: Iterable[int] = (0, 1)
) -> list[Shot]:
    return list(product(people, range(cameras), numbers))


def build_dukemtmc(root: Path, *, people: int = 4) -> Path:
    """Frames in Market-1501's folders: 0001_c2_f0046182.jpg."""
    painter = Painter(size=SMALL, seed=2)
    for folder, group in _thirds(people).items():
        for person, camid, shot in group:
            name = f"{person + 1:04d}_c{camid + 1}_f{46158 + 120 * shot:07d}.jpg"
            painter.save(root / folder / name, person + 201, camid)
    return root


def build_cuhk03(root: Path, *, people: int = 4, original_names: bool = False) -> Path:
    """Both kinds of boxes: detected/query/0001_c1_1.png, or 1_001_1_01.png."""
    painter = Painter(size=SMALL, seed=3)
    for boxes in ("detected", "labeled"):
        for folder, group in _thirds(people).items():
            for person, camid, shot in group:
                name = (
                    f"{1 + person % 2}_{person // 2 + 1:03d}_{camid + 1}_{shot + 1:02d}.png"
                    if original_names
                    else f"{person + 1:04d}_c{camid + 1}_{shot + 1}.png"
                )
                painter.save(root / boxes / folder / name, person + 301, camid)
        painter.save(root / "labeled" / "bounding_box_train" / "0001_c1_9.png", 301, 0)
    return root


def build_msmt17(
    root: Path, *, people: int = 4, test_people: int = 3, masked: bool = False
) -> Path:
    """Folders of people and four lists; the last training person is the validation list's."""
    painter = Painter(size=SMALL, seed=4)
    train, test = ("mask_train_v2", "mask_test_v2") if masked else ("train", "test")
    groups: dict[str, tuple[str, list[Shot]]] = {
        "list_train.txt": (train, shots(range(people - 1))),
        "list_val.txt": (train, shots([people - 1])),
        "list_query.txt": (test, shots(range(test_people), numbers=(0,))),
        "list_gallery.txt": (test, shots(range(test_people), numbers=(1, 2))),
    }
    for list_name, (folder, group) in groups.items():
        lines = []
        for person, camid, shot in group:
            image = 3 * camid + shot
            name = f"{person:04d}_{image:03d}_{camid + 1:02d}_0303morning_0015_{shot}.jpg"
            path = f"{person:04d}/{name}"
            offset = 401 if folder == train else 451
            painter.save(root / folder / path, person + offset, camid)
            lines.append(f"{path} {person}\n")
        (root / list_name).write_text("".join(lines))
    return root


def build_viper(root: Path, *, people: int = 8) -> Path:
    """One image per person and camera, named by person and angle; numbers have gaps."""
    painter = Painter(size=SMALL, seed=5)
    for person, camid in product(range(people), range(2)):
        name = f"{3 * person:03d}_{(45, 135)[camid]}.bmp"
        painter.save(root / ("cam_a", "cam_b")[camid] / name, person + 501, camid)
    return root


def build_csv(path: Path, *, people: int = 4) -> Path:
    """A table of images in folders of its own, with distractors and junk."""
    painter = Painter(size=SMALL, seed=6)
    rows = ["pid,path,split,camid,note"]

    def add(split: str, pid: int, camid: int, name: str) -> None:
        painter.save(path.parent / name, pid + 601 if pid > 0 else pid, camid)
        rows.append(f"{pid},{name},{split},{camid},-")

    for split, group in zip(("train", "gallery", "query"), _thirds(people).values(), strict=True):
        for person, camid, shot in group:
            add(split, person + 1, camid, f"{split}/{person}/{camid}-{shot}.png")
    for shot, pid in enumerate((0, 0, -1)):
        add("gallery", pid, 0, f"gallery/others/{shot}.png")
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def _thirds(people: int) -> dict[str, list[Shot]]:
    """Training people, then as many test people: in Market-1501's folders."""
    tested = range(people, 2 * people)
    return {
        "bounding_box_train": shots(range(people)),
        "bounding_box_test": shots(tested, numbers=(1, 2)),
        "query": shots(tested, numbers=(0,)),
    }
