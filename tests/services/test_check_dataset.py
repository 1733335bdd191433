from collections.abc import Mapping, Sequence

import pytest

from reid.application.check_dataset import check_dataset, odd_about_lists
from reid.domain.errors import DatasetError
from reid.domain.values.samples import Sample, Split, SplitStatistics, UnreadableImage
from tests.fakes.dataset import FakeDataset


def dataset_of(
    *, train: list[tuple[int, int]], query: list[tuple[int, int]], gallery: list[tuple[int, int]]
) -> FakeDataset:
    """Build a dataset from (pid, camid) pairs."""
    rows = {Split.TRAIN: train, Split.QUERY: query, Split.GALLERY: gallery}
    return FakeDataset(
        splits={
            split: [Sample(f"{split}/{n}", pid, camid) for n, (pid, camid) in enumerate(pairs)]
            for split, pairs in rows.items()
        }
    )


def test_a_sound_dataset_is_clean_and_counted() -> None:
    report = check_dataset(FakeDataset())
    assert report.problems == ()
    assert report.dataset == "fake"
    assert report.statistics == (
        SplitStatistics(Split.TRAIN, num_identities=4, num_images=16, num_cameras=2),
        SplitStatistics(Split.QUERY, num_identities=3, num_images=6, num_cameras=2),
        SplitStatistics(Split.GALLERY, num_identities=4, num_images=7, num_cameras=2),
    )


def test_damaged_images_are_listed_with_their_reason() -> None:
    report = check_dataset(FakeDataset(damaged={"query/0001_c1_00": "truncated"}))
    assert report.unreadable == (UnreadableImage("query/0001_c1_00", "truncated"),)
    assert report.problems == ("images that cannot be decoded: 1 (query/0001_c1_00)",)


def test_names_that_tell_nobody_are_listed() -> None:
    report = check_dataset(FakeDataset(unparsed={Split.GALLERY: ["gallery/holiday.jpg"]}))
    assert report.unparsed == ("gallery/holiday.jpg",)
    assert report.problems


def test_people_trained_on_and_tested_with_are_reported() -> None:
    report = check_dataset(
        dataset_of(
            train=[(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)],
            query=[(2, 0), (4, 0)],
            gallery=[(2, 1), (3, 0), (4, 1)],
        )
    )
    assert report.shared_identities == (2, 3)


def test_a_query_of_somebody_absent_and_one_without_another_camera_are_told_apart() -> None:
    report = check_dataset(
        dataset_of(
            train=[(1, 0), (1, 1)],
            query=[(5, 0), (6, 0), (7, 0)],
            gallery=[(6, 0), (7, 0), (7, 1)],
        )
    )
    assert report.absent_query_identities == (5,)
    assert report.unmatched_queries == ("query/1",)


def test_training_identities_with_one_image_are_reported() -> None:
    report = check_dataset(
        dataset_of(train=[(9, 0), (1, 0), (1, 1), (3, 0)], query=[(2, 0)], gallery=[(2, 1)])
    )
    assert report.single_image_identities == (3, 9)


def test_distractors_belong_to_the_gallery_alone() -> None:
    report = check_dataset(
        dataset_of(
            train=[(0, 0), (0, 1), (1, 0), (1, 1)],
            query=[(0, 0), (2, 0)],
            gallery=[(0, 1), (2, 1)],
        )
    )
    assert report.misplaced_distractors == ("train/0", "train/1", "query/0")
    assert report.shared_identities == ()


def test_a_finding_names_the_first_three_only() -> None:
    report = check_dataset(
        dataset_of(train=[(pid, 0) for pid in range(10, 15)], query=[(2, 0)], gallery=[(2, 1)])
    )
    assert report.problems == ("training identities with a single image: 5 (10, 11, 12, ...)",)


def test_a_missing_split_is_an_error_rather_than_a_finding() -> None:
    with pytest.raises(DatasetError, match="no query images"):
        check_dataset(dataset_of(train=[(1, 0)], query=[], gallery=[(1, 0)]))


class Copies(FakeDataset):
    """A dataset whose images have contents of their own choosing."""

    contents: Mapping[str, str]

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        return tuple(self.contents.get(name, name) for name in names)


def test_copies_are_reported_and_those_of_somebody_else_once_more() -> None:
    dataset = Copies()
    train, gallery = dataset.samples(Split.TRAIN), dataset.samples(Split.GALLERY)
    original, twin, other = train[0].name, train[1].name, train[-1].name
    assert train[0].pid == train[1].pid != train[-1].pid
    dataset.contents = dict.fromkeys((original, twin, other, gallery[-1].name), "same")
    report = check_dataset(dataset)
    assert report.repeated_images == (twin, other, gallery[-1].name)
    assert report.contradictory_images == (other, gallery[-1].name)
    assert report.problems == (
        f"images that are copies of another one: 3 ({twin}, {other}, {gallery[-1].name})",
        f"copies that are of another person than the original: 2 ({other}, {gallery[-1].name})",
    )


def test_unreadable_images_are_no_copies_of_each_other() -> None:
    dataset = Copies()
    dataset.contents = {sample.name: "" for sample in dataset.samples(Split.TRAIN)}
    assert check_dataset(dataset).repeated_images == ()


def test_one_camera_alone_is_reported_with_the_way_out() -> None:
    report = check_dataset(
        dataset_of(train=[(1, 0), (1, 1)], query=[(2, 0)], gallery=[(2, 0), (2, 0)])
    )
    assert report.only_camera == 0
    assert report.unmatched_queries == ("query/0",)
    assert "cameras in query and gallery (evaluation.same_camera_rule=false" in report.problems[-1]


def test_lists_alone_tell_all_but_what_images_hold() -> None:
    dataset = dataset_of(
        train=[(1, 0), (2, 0), (2, 1)], query=[(2, 0), (3, 0)], gallery=[(2, 1), (4, 0)]
    )
    assert odd_about_lists(dataset) == check_dataset(dataset).problems
    assert odd_about_lists(dataset, (Split.QUERY, Split.GALLERY)) == (
        "query identities missing from the gallery: 1 (3)",
    )
