from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from reid.adapters.images.contents import CachedReader
from reid.domain.errors import DatasetError
from reid.domain.events import ImageCacheFilled
from reid.domain.values.samples import ImageSize, Resampling, Split
from tests.fakes.dataset import FakeDataset
from tests.fakes.listener import RecordingListener

SIZE = ImageSize(16, 8)
IMAGE = 3 * 16 * 8
"""Bytes."""


class CountingDataset(FakeDataset):
    """Remembers what was read."""

    def __init__(self) -> None:
        super().__init__(identities=5)
        self.calls: list[list[str]] = []

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        self.calls.append(list(names))
        return super().read(names, size=size, resampling=resampling)


@pytest.fixture
def source() -> CountingDataset:
    return CountingDataset()


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def names(source: CountingDataset) -> list[str]:
    return [sample.name for sample in source.samples(Split.TRAIN)]


def read(dataset: FakeDataset | CachedReader, names: Sequence[str]) -> Tensor:
    return dataset.read(names, size=SIZE, resampling=Resampling.BICUBIC)


def test_each_image_is_read_once(
    source: CountingDataset, listener: RecordingListener, names: list[str]
) -> None:
    cached = CachedReader(source, num_bytes=100 * IMAGE, listener=listener)
    for batch in (names[:4], names[2:6], names[5:0:-1]):
        assert torch.equal(read(cached, batch), read(FakeDataset(identities=5), batch))
    assert source.calls == [names[:4], names[4:6]]
    assert listener.events == []


def test_an_image_asked_for_twice_in_a_batch_is_read_once(
    source: CountingDataset, listener: RecordingListener, names: list[str]
) -> None:
    cached = CachedReader(source, num_bytes=100 * IMAGE, listener=listener)
    batch = read(cached, [names[0], names[1], names[0]])
    assert torch.equal(batch[0], batch[2])
    assert source.calls == [names[:2]]


@pytest.mark.parametrize("room", [0, 1, 3, 9])
def test_beyond_the_budget_images_are_read_every_time_and_that_is_said_once(
    source: CountingDataset, listener: RecordingListener, names: list[str], room: int
) -> None:
    num_bytes = room * IMAGE + IMAGE // 2
    cached = CachedReader(source, num_bytes=num_bytes, listener=listener)
    for _ in range(3):
        for batch in (names[:5], names[5:10]):
            assert torch.equal(read(cached, batch), read(FakeDataset(identities=5), batch))
    assert sum(len(call) for call in source.calls) == room + 3 * (10 - room)
    assert listener.events == [ImageCacheFilled(num_kept=room, num_bytes=num_bytes)]


def test_a_budget_met_exactly_is_said_too_when_an_image_finds_no_room(
    source: CountingDataset, listener: RecordingListener, names: list[str]
) -> None:
    cached = CachedReader(source, num_bytes=2 * IMAGE, listener=listener)
    read(cached, names[:2])
    assert listener.events == []
    for _ in range(2):
        read(cached, names[:3])
    assert listener.events == [ImageCacheFilled(num_kept=2, num_bytes=2 * IMAGE)]


def test_sizes_and_filters_do_not_mix(
    source: CountingDataset, listener: RecordingListener, names: list[str]
) -> None:
    cached = CachedReader(source, num_bytes=100 * IMAGE, listener=listener)
    for size in (SIZE, ImageSize(32, 16)):
        for resampling in Resampling:
            for _ in range(2):
                got = cached.read(names[:2], size=size, resampling=resampling)
                expected = FakeDataset(identities=5).read(
                    names[:2], size=size, resampling=resampling
                )
                assert torch.equal(got, expected)
    assert len(source.calls) == 4


def test_what_is_given_out_can_be_changed_without_harm(
    source: CountingDataset, listener: RecordingListener, names: list[str]
) -> None:
    cached = CachedReader(source, num_bytes=100 * IMAGE, listener=listener)
    before = read(cached, names[:2]).clone()
    for _ in range(2):
        batch = read(cached, names[:2])
        assert torch.equal(batch, before)
        batch.zero_()


def test_an_unreadable_image_is_an_error_every_time(listener: RecordingListener) -> None:
    source = FakeDataset(damaged={"train/0002_c1_00": "torn"})
    cached = CachedReader(source, num_bytes=100 * IMAGE, listener=listener)
    for _ in range(2):
        with pytest.raises(DatasetError, match="torn"):
            read(cached, ["train/0002_c1_00"])
