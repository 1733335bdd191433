"""Several datasets trained on as one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, count
from typing import TypeVar

import torch
from torch import Tensor

from reid.adapters.images.contents import ImageContents
from reid.domain.errors import DatasetError
from reid.domain.services.lists import ListedDataset
from reid.domain.values.samples import (
    ImageSize,
    Resampling,
    Sample,
    SampleList,
    Split,
    UnreadableImage,
)
from reid.ports.dataset import Dataset, ImageReader

PIDS_PER_SET = 10**9  # person 7 of the second set is 1000000007: no two sets share an identity
_Made = TypeVar("_Made")


class CombinedDataset(ListedDataset):
    """A dataset whose training list includes those of others.

    Queries and gallery are the first dataset's alone. It keeps its pids and cameras; the others'
    are renumbered, so that identities and cameras of different sets never merge. An image's name
    begins with its set's: `market/bounding_box_train/0002_c1s1_000451_03.jpg`.

    Listing raises DatasetError where a needed list cannot be read or is empty: all lists of the
    first dataset, since its cameras are counted, and the training lists of the others.
    """

    def __init__(self, first: Dataset, *, others: Sequence[Dataset]) -> None:
        """Keep the datasets; the distractors of each of the `others`, pid 0, become one person."""
        self._sets = _named((first, *others))
        readers = {name: dataset.reader for name, dataset in self._sets.items()}
        super().__init__(
            " + ".join(self._sets), reader=_ReaderBySet(readers), list_split=self._list
        )

    def _list(self, split: Split) -> SampleList:
        moved, unparsed = list[Sample](), list[str]()
        for number, (name, dataset) in enumerate(self._sets.items()):
            if number == 0 or split is Split.TRAIN:
                unparsed += [f"{name}/{own}" for own in dataset.unparsed_names(split)]
                moved += [
                    self._move(sample, number=number, name=name)
                    for sample in dataset.samples(split)
                ]
        moved.sort(key=lambda sample: sample.name)
        return SampleList(tuple(moved), tuple(sorted(unparsed)), place=self.name)

    def _move(self, sample: Sample, *, number: int, name: str) -> Sample:
        if sample.pid >= PIDS_PER_SET:
            raise DatasetError(
                f"{name}/{sample.name}: the pid {sample.pid} is too large for sets that are "
                f"combined; number people below {PIDS_PER_SET}"
            )
        return Sample(
            name=f"{name}/{sample.name}",
            pid=number * PIDS_PER_SET + sample.pid,
            camid=self._first_cameras[number] + sample.camid,
        )

    @cached_property
    def _first_cameras(self) -> Sequence[int]:
        """Return the number of each set's camera 0 among all cameras."""
        first, *others = self._sets.values()
        trained = (_count_cameras(dataset, (Split.TRAIN,)) for dataset in others[:-1])
        return tuple(accumulate((0, _count_cameras(first, tuple(Split)), *trained)))


class _ReaderBySet:
    """Reads each image with the reader of its set, which its name begins with."""

    def __init__(self, readers: Mapping[str, ImageReader]) -> None:
        self._readers = readers
        self._of_no_set = ImageContents(self._refuse)

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        batch = torch.empty(
            (len(names), 3, size.height, size.width),
            dtype=torch.uint8,
            memory_format=torch.channels_last,
        )
        for reader, rows, own in self._by_set(names):
            batch[rows] = reader.read(own, size=size, resampling=resampling)
        return batch

    def find_unreadable(self, names: Sequence[str]) -> tuple[UnreadableImage, ...]:
        def reasons(reader: ImageReader, own: list[str]) -> list[str | None]:
            bad = {one.name: one.reason for one in reader.find_unreadable(own)}
            return [bad.get(name) for name in own]

        found = zip(names, self._of_each(names, reasons), strict=True)
        return tuple(UnreadableImage(name, reason) for name, reason in found if reason is not None)

    def thumbnails(self, names: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        return self._of_each(names, lambda reader, own: reader.thumbnails(own, height=height))

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        return self._of_each(names, lambda reader, own: reader.content_digests(own))

    def _of_each(
        self, names: Sequence[str], make: Callable[[ImageReader, list[str]], Sequence[_Made]]
    ) -> tuple[_Made, ...]:
        made: dict[int, _Made] = {}
        for reader, rows, own in self._by_set(names):
            made.update(zip(rows, make(reader, own), strict=True))
        return tuple(made[row] for row in range(len(names)))

    def _by_set(self, names: Sequence[str]) -> Iterator[tuple[ImageReader, list[int], list[str]]]:
        """Divide names by set: its reader, their rows, and their names within the set."""
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(names):
            rows_of.setdefault(name.partition("/")[0], []).append(row)
        for own, rows in rows_of.items():
            if own in self._readers:
                within = [names[row].removeprefix(f"{own}/") for row in rows]
                yield self._readers[own], rows, within
            else:
                yield self._of_no_set, rows, [names[row] for row in rows]

    def _refuse(self, name: str) -> bytes:
        own = name.partition("/")[0]
        raise OSError(f"none of the combined sets is called {own!r} ({', '.join(self._readers)})")


def _named(datasets: Sequence[Dataset]) -> Mapping[str, Dataset]:
    """Name each set without slashes; sets of the same name are numbered."""
    named: dict[str, Dataset] = {}
    for dataset in datasets:
        plain = dataset.name.replace("/", "_")
        numbered = (f"{plain} {number}" for number in count(2))
        named[next(name for name in chain([plain], numbered) if name not in named)] = dataset
    return named


def _count_cameras(dataset: Dataset, splits: Sequence[Split]) -> int:
    return 1 + max(sample.camid for split in splits for sample in dataset.samples(split))
