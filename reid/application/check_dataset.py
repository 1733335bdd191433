"""Check whether a dataset is fit for training and evaluation."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reid.domain.services.copies import queries_in_gallery
from reid.domain.values.samples import (
    DISTRACTOR_PID,
    Sample,
    Split,
    SplitStatistics,
    UnreadableImage,
)
from reid.ports.dataset import Dataset

_NUM_EXAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCheckReport:
    """What a dataset holds, and its problems."""

    dataset: str
    statistics: tuple[SplitStatistics, ...] = ()  # of training, query and gallery, in this order
    unreadable: tuple[UnreadableImage, ...] = ()
    unparsed: tuple[str, ...] = ()
    """Images whose names give no person or camera, so that no list holds them."""
    shared_identities: tuple[int, ...]
    """People both in training and in query or gallery: scores would be too high."""
    absent_query_identities: tuple[int, ...]  # people in query who are not in the gallery
    unmatched_queries: tuple[str, ...]
    """Queries of people whom no other camera of the gallery has; evaluation skips them."""
    single_image_identities: tuple[int, ...]
    """People with one training image: a PK batch must repeat it."""
    misplaced_distractors: tuple[str, ...]
    """Images of pid 0 among training images and queries, where 0 counts as one person."""
    repeated_images: tuple[str, ...] = ()
    """Images with the content of another one that comes before, under another name."""
    contradictory_images: tuple[str, ...] = ()
    """Copies that are labelled as another person than their original."""
    queries_in_gallery: tuple[str, ...] = ()
    """Queries whose very content the gallery has too, under the same name or another."""
    only_camera: int | None = None
    """The zero-based camera of all queries and gallery images, where there is only one: by
    Market-1501's protocol no query then has a match."""

    @property
    def problems(self) -> tuple[str, ...]:
        """One phrase per kind of problem, with a count and the first examples."""
        found: tuple[tuple[Sequence[object], str], ...] = (
            ([image.name for image in self.unreadable], "images that cannot be decoded"),
            (self.unparsed, "images whose names tell no person or camera"),
            (self.shared_identities, "identities both in training and in query or gallery"),
            (self.absent_query_identities, "query identities missing from the gallery"),
            (self.unmatched_queries, "queries without a match from another camera"),
            (self.single_image_identities, "training identities with a single image"),
            (
                [] if self.only_camera is None else [f"camera {self.only_camera + 1}"],
                "cameras in query and gallery (evaluation.same_camera_rule=false compares within "
                "one)",
            ),
            (
                self.queries_in_gallery,
                "queries whose very picture is in the gallery, so that they find themselves",
            ),
            (self.repeated_images, "images that are copies of another one"),
            (self.contradictory_images, "copies that are of another person than the original"),
            (self.misplaced_distractors, "training or query images with the distractors' pid 0"),
        )
        return tuple(_phrase(items, what) for items, what in found if items)


def count_splits(dataset: Dataset) -> tuple[SplitStatistics, ...]:
    """Count training, query and gallery; a missing or empty split is a `DatasetError`."""
    return tuple(SplitStatistics.of(split, dataset.samples(split)) for split in Split)


def odd_about_lists(dataset: Dataset, splits: Sequence[Split] = tuple(Split)) -> tuple[str, ...]:
    """Find problems of the lists that will be used, as a check reports them; no image is read."""
    lists = {split: dataset.samples(split) if split in splits else () for split in Split}
    return _findings_of_lists(dataset.name, lists).problems


def check_dataset(dataset: Dataset) -> DatasetCheckReport:
    """List a dataset, decode every image in full, and look for contradictions.

    Problems are reported, not raised.

    Raises:
        DatasetError: A split is missing or empty, so that there is nothing to check.
    """
    splits = {split: dataset.samples(split) for split in Split}
    listed = [sample for samples in splits.values() for sample in samples]
    copies = _copies(dataset, listed)
    return replace(
        _findings_of_lists(dataset.name, splits),
        statistics=count_splits(dataset),
        unreadable=dataset.reader.find_unreadable([sample.name for sample in listed]),
        unparsed=tuple(name for split in Split for name in dataset.unparsed_names(split)),
        queries_in_gallery=queries_in_gallery(
            dataset.reader,
            splits[Split.QUERY],
            splits[Split.GALLERY],
            remove_same_camera=False,  # a list that needs the rule to be sound deserves a word
        ),
        repeated_images=tuple(copy.name for copy, _ in copies),
        contradictory_images=tuple(
            copy.name for copy, original in copies if copy.pid != original.pid
        ),
    )


def _findings_of_lists(name: str, lists: Mapping[Split, Sequence[Sample]]) -> DatasetCheckReport:
    train, query, gallery = (lists[split] for split in Split)
    trained, asked, known = ({sample.pid for sample in samples} for samples in lists.values())
    cameras_of: dict[int, set[int]] = {}
    for sample in gallery:
        cameras_of.setdefault(sample.pid, set()).add(sample.camid)
    tested_cameras = {sample.camid for sample in (*query, *gallery)}
    return DatasetCheckReport(
        dataset=name,
        shared_identities=tuple(sorted(trained & (asked | known) - {DISTRACTOR_PID})),
        absent_query_identities=tuple(sorted(asked - known - {DISTRACTOR_PID})),
        unmatched_queries=tuple(
            sample.name
            for sample in query
            if sample.pid in known and not cameras_of[sample.pid] - {sample.camid}
        ),
        single_image_identities=tuple(
            sorted(pid for pid, num in Counter(s.pid for s in train).items() if num == 1)
        ),
        misplaced_distractors=tuple(
            sample.name for sample in (*train, *query) if sample.pid == DISTRACTOR_PID
        ),
        only_camera=tested_cameras.pop() if len(tested_cameras) == 1 else None,
    )


def _copies(dataset: Dataset, listed: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
    """Pair copies with their originals, which come earlier under another name."""
    samples = list({sample.name: sample for sample in listed}.values())
    digests = dataset.reader.content_digests([sample.name for sample in samples])
    originals: dict[str, Sample] = {}
    return [
        (sample, originals[digest])
        for sample, digest in zip(samples, digests, strict=True)
        if digest and originals.setdefault(digest, sample) is not sample
    ]


def _phrase(items: Sequence[object], what: str) -> str:
    examples = ", ".join(str(item) for item in items[:_NUM_EXAMPLES])
    rest = ", ..." if len(items) > _NUM_EXAMPLES else ""
    return f"{what}: {len(items)} ({examples}{rest})"
