"""Several datasets trained on as one."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, UnreadableImage
from reid.ports.dataset import Dataset, DigestingReader

PIDS_PER_SET = 10**9
"""Person 7 of the second set is 1000000007: no two sets share an identity."""


class CombinedDataset:
    """A dataset whose training list is joined by those of others.

    Queries and gallery are the first dataset's alone. Its own pids and cameras stay; the others'
    move out of the way, so that identities and cameras of different sets never merge. A picture's
    name begins with its set's: `market/bounding_box_train/0002_c1s1_000451_03.jpg`.
    """

    def __init__(self, first: Dataset, *, others: Sequence[Dataset]) -> None:
        """Take the datasets; nothing is read yet.

        Args:
            first: Trained on and tested with.
            others: Trained on too. Their distractors, pid 0, are kept as one person each, as in a
                training list of their own.
        """
        self._sets = _named((first, *others))
        self._lists: dict[Split, tuple[Sample, ...]] = {}

    @property
    def name(self) -> str:
        """All names."""
        return " + ".join(self._sets)

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List a split, sorted by name; read once and kept.

        Raises:
            DatasetError: A list that is needed cannot be read or is empty: of the first dataset
                every one, since its cameras are counted, of the others the training list.
        """
        if split not in self._lists:
            moved = [
                self._move(sample, number=number, name=name)
                for number, (name, dataset) in enumerate(self._sets_of(split).items())
                for sample in dataset.samples(split)
            ]
            self._lists[split] = tuple(sorted(moved, key=lambda sample: sample.image))
        return self._lists[split]

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List the pictures that tell no person or camera, sorted.

        Raises:
            DatasetError: A folder is missing.
        """
        return tuple(
            sorted(
                f"{name}/{image}"
                for name, dataset in self._sets_of(split).items()
                for image in dataset.unparsed_names(split)
            )
        )

    def read(self, images: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Read each picture from its set; see the port.

        Raises:
            DatasetError: A picture cannot be read, or its name begins with no set's.
        """
        batch = torch.empty(
            (len(images), 3, size.height, size.width),
            dtype=torch.uint8,
            memory_format=torch.channels_last,
        )
        for name, rows, own in _by_set(images):
            if name not in self._sets:
                raise DatasetError(
                    f"{images[rows[0]]} cannot be read: {self._reason_unknown(name)}"
                )
            batch[rows] = self._sets[name].read(own, size=size, resampling=resampling)
        return batch

    def find_unreadable(self, images: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """Decode every picture in full and list those that fail, in the order of the names."""
        reasons: dict[str, str] = {}
        for name, rows, own in _by_set(images):
            if name not in self._sets:
                reasons.update((images[row], self._reason_unknown(name)) for row in rows)
                continue
            for found in self._sets[name].find_unreadable(own):
                reasons[f"{name}/{found.image}"] = found.reason
        return tuple(UnreadableImage(image, reasons[image]) for image in images if image in reasons)

    def thumbnails(self, images: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make small JPEGs of pictures; None for those that cannot be read."""
        made: dict[str, bytes | None] = {}
        for name, rows, own in _by_set(images):
            if name in self._sets:
                small = self._sets[name].thumbnails(own, height=height)
                made.update(zip([images[row] for row in rows], small, strict=True))
        return tuple(made.get(image) for image in images)

    def content_digests(self, images: Sequence[str]) -> tuple[str, ...]:
        """Digest pictures of the sets that can; empty for those of others."""
        made: dict[str, str] = {}
        for name, rows, own in _by_set(images):
            dataset = self._sets.get(name)
            if isinstance(dataset, DigestingReader):
                digests = dataset.content_digests(own)
                made.update(zip([images[row] for row in rows], digests, strict=True))
        return tuple(made.get(image, "") for image in images)

    def _sets_of(self, split: Split) -> Mapping[str, Dataset]:
        if split is Split.TRAIN:
            return self._sets
        name, first = next(iter(self._sets.items()))
        return {name: first}

    def _move(self, sample: Sample, *, number: int, name: str) -> Sample:
        if sample.pid >= PIDS_PER_SET:
            raise DatasetError(
                f"{name}/{sample.image}: the pid {sample.pid} is too large for sets that are "
                f"combined; number people below {PIDS_PER_SET}"
            )
        return Sample(
            image=f"{name}/{sample.image}",
            pid=number * PIDS_PER_SET + sample.pid,
            camid=self._first_cameras[number] + sample.camid,
        )

    @cached_property
    def _first_cameras(self) -> Sequence[int]:
        """Give the place of each set's camera 0 among all cameras."""
        first, *others = self._sets.values()
        starts = [0, _count_cameras(first, tuple(Split))]
        for dataset in others[:-1]:
            starts.append(starts[-1] + _count_cameras(dataset, (Split.TRAIN,)))
        return starts

    def _reason_unknown(self, name: str) -> str:
        return f"none of the combined sets is called {name!r} ({', '.join(self._sets)})"


def _named(datasets: Sequence[Dataset]) -> Mapping[str, Dataset]:
    """Name each set, twins numbered, so that a name has no slash and belongs to one set."""
    named: dict[str, Dataset] = {}
    for dataset in datasets:
        plain = name = dataset.name.replace("/", "_")
        number = 1
        while name in named:
            number += 1
            name = f"{plain} {number}"
        named[name] = dataset
    return named


def _by_set(images: Sequence[str]) -> Iterator[tuple[str, list[int], list[str]]]:
    """Divide pictures by set: its name, their places among all, and what it calls them itself."""
    rows_of: dict[str, list[int]] = {}
    for row, image in enumerate(images):
        rows_of.setdefault(image.partition("/")[0], []).append(row)
    for name, rows in rows_of.items():
        yield name, rows, [images[row].removeprefix(f"{name}/") for row in rows]


def _count_cameras(dataset: Dataset, splits: Sequence[Split]) -> int:
    return 1 + max(sample.camid for split in splits for sample in dataset.samples(split))
