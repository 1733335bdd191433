"""Distributions with entry points, as an installer would leave them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

Offers: TypeAlias = Mapping[str, Mapping[str, str]]
"""Entry points by group and name."""

Install: TypeAlias = Callable[[str, str, Offers], None]


def write_distribution(folder: Path, *, name: str, source: str, offers: Offers) -> None:
    """Write a module and the metadata that makes it an installed distribution."""
    (folder / f"{name}.py").write_text(source)
    metadata = folder / f"{name}-0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    lines = [
        line
        for group, entries in offers.items()
        for line in (f"[{group}]", *(f"{kind} = {value}" for kind, value in entries.items()))
    ]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


SCENERY = '''
"""A small adapter for each group, as a user would write them."""
import numpy
import torch

from reid.adapters.galleries.memory import open_memory_gallery
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.features import Neighbours
from reid.domain.services.lists import ListedDataset
from reid.domain.values.samples import Sample, SampleList


class Black:
    def read(self, images, *, size, resampling):
        return torch.zeros(len(images), 3, size.height, size.width, dtype=torch.uint8)

    def find_unreadable(self, images):
        return ()


def two_people(root, images=2):
    def list_split(split):
        return SampleList(
            tuple(
                Sample(f"{split}_{pid}_{k}", pid=pid, camid=k % 2)
                for pid in (1, 2) for k in range(int(images))
            )
        )

    return ListedDataset(f"two people in {root}", reader=Black(), list_split=list_split)


class Backwards:
    """Ranks by rows, last first; takes one option."""

    is_exact = False
    recall = 0.0

    def __init__(self, shift=0):
        self.shift = int(shift)

    def build(self, gallery):
        self.rows = len(gallery)

    def search(self, queries, k):
        rows = torch.arange(self.rows).flip(0)[: min(k, self.rows)]
        return Neighbours(rows.repeat(len(queries), 1), torch.zeros(len(queries), len(rows)))


class Means:
    """Knows its request; enough to see that it arrives."""

    def __init__(self, request):
        self.request = request
        self.description = EncoderDescription(request.kind, "random", is_pretrained=False)


SHELVES = {}


def open_shelf(request):
    """Keeps galleries as long as the process lives, so many on a shelf."""
    width = int(request.options.get("width", 2))
    if request.create and len(SHELVES) < width:
        SHELVES.setdefault(request.name, open_memory_gallery(create_index=request.create_index))
    return SHELVES[request.name]


class Spread:
    """Tells how far apart features lie."""

    def __init__(self, weight=1.0):
        self.weight = weight

    def __call__(self, features, pids):
        return self.weight * features.std(correction=0)


class Standing:
    """Follows people who never move."""

    def follow(self, boxes):
        return boxes
'''

SCENERY_OFFERS: Offers = {
    "reid.encoders": {"means": "reid_scenery:Means"},
    "reid.datasets": {"two-people": "reid_scenery:two_people"},
    "reid.indexes": {"backwards": "reid_scenery:Backwards"},
    "reid.galleries": {"shelf": "reid_scenery:open_shelf"},
    "reid.losses": {"spread": "reid_scenery:Spread"},
    "reid.trackers": {"standing": "reid_scenery:Standing"},
}
