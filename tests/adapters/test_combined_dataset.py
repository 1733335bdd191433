from collections.abc import Sequence

import pytest
import torch

from reid.adapters.datasets.combined import PIDS_PER_SET, CombinedDataset
from reid.domain.errors import DatasetError
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, labels_by_pid
from tests.fakes.dataset import FakeDataset

SIZE = ImageSize(16, 8)


def fake(*annotations: tuple[int, int], split: Split = Split.TRAIN) -> FakeDataset:
    """Hold one training image of each person and camera."""
    samples = [Sample(f"{split}/{n}.jpg", pid, camid) for n, (pid, camid) in enumerate(annotations)]
    return FakeDataset(splits={split: samples})


class NamedDataset(FakeDataset):
    """A fake that is called otherwise."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def name(self) -> str:
        return self._name


def annotations(samples: Sequence[Sample]) -> set[tuple[int, int]]:
    return {(sample.pid, sample.camid) for sample in samples}


def test_identities_and_cameras_of_different_sets_never_merge() -> None:
    both = CombinedDataset(FakeDataset(cameras=3), others=[FakeDataset(), FakeDataset()])
    train = both.samples(Split.TRAIN)
    assert len(train) == 24 + 16 + 16
    assert len({sample.pid for sample in train}) == 12
    assert {sample.camid for sample in train} == set(range(3 + 2 + 2))
    assert sorted(labels_by_pid(train).values()) == list(range(12))
    second = {sample.camid for sample in train if sample.pid // PIDS_PER_SET == 1}
    assert second == {3, 4}


def test_cameras_that_only_the_first_set_s_tests_know_are_kept_free() -> None:
    first = FakeDataset(
        splits={
            Split.TRAIN: [Sample("a", pid=1, camid=0)],
            Split.QUERY: [Sample("b", pid=2, camid=5)],
            Split.GALLERY: [Sample("c", pid=2, camid=1)],
        }
    )
    train = CombinedDataset(first, others=[fake((1, 0))]).samples(Split.TRAIN)
    assert annotations(train) == {(1, 0), (PIDS_PER_SET + 1, 6)}


def test_queries_and_gallery_are_the_first_set_s_own() -> None:
    first = FakeDataset(test_identities=2)
    both = CombinedDataset(first, others=[FakeDataset(test_identities=5)])
    for split in (Split.QUERY, Split.GALLERY):
        assert annotations(both.samples(split)) == annotations(first.samples(split))


def test_a_name_begins_with_its_set_s_and_twins_are_numbered() -> None:
    sets = [NamedDataset(name) for name in ("market", "market", "msmt/v1", "market")]
    both = CombinedDataset(sets[0], others=sets[1:])
    assert both.name == "market + market 2 + msmt_v1 + market 3"
    names = [sample.name for sample in both.samples(Split.TRAIN)]
    assert len(set(names)) == len(names) == 64
    prefixes = {name.partition("/")[0] for name in names}
    assert prefixes == {"market", "market 2", "msmt_v1", "market 3"}


def test_each_image_is_read_from_its_own_set() -> None:
    first, second = FakeDataset(identities=2), NamedDataset("other")
    both = CombinedDataset(first, others=[second])
    one, two = (dataset.samples(Split.TRAIN)[0].name for dataset in (first, second))
    read = both.reader.read(
        [f"other/{two}", f"fake/{one}", f"other/{two}"], size=SIZE, resampling=Resampling.BILINEAR
    )
    expected = [
        dataset.read([image], size=SIZE, resampling=Resampling.BILINEAR)
        for dataset, image in ((second, two), (first, one), (second, two))
    ]
    assert torch.equal(read, torch.cat(expected))


def test_damage_is_told_in_the_order_asked_for_under_the_combined_names() -> None:
    first = FakeDataset(damaged={"x": "torn"})
    second = FakeDataset(damaged={"y": "wet"})
    both = CombinedDataset(first, others=[second])
    found = both.reader.find_unreadable(["fake 2/y", "z/1", "fake/x"])
    assert [(one.name, one.reason) for one in found] == [
        ("fake 2/y", "wet"),
        ("z/1", "none of the combined sets is called 'z' (fake, fake 2)"),
        ("fake/x", "torn"),
    ]


def test_odd_names_of_every_training_list_are_told() -> None:
    odd = {Split.TRAIN: ["b.jpg"], Split.QUERY: ["c.jpg"]}
    both = CombinedDataset(FakeDataset(unparsed=odd), others=[FakeDataset(unparsed=odd)])
    assert both.unparsed_names(Split.TRAIN) == ("fake 2/b.jpg", "fake/b.jpg")
    assert both.unparsed_names(Split.QUERY) == ("fake/c.jpg",)


def test_a_pid_that_would_run_into_the_next_set_s_is_refused() -> None:
    both = CombinedDataset(FakeDataset(), others=[fake((PIDS_PER_SET, 0))])
    with pytest.raises(DatasetError, match=r"fake 2/train/0\.jpg: the pid 1000000000 is too large"):
        both.samples(Split.TRAIN)
