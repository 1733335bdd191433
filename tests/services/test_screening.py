"""Bad images of a dataset, on fakes."""

from collections.abc import Callable

import pytest

from reid.domain.errors import DatasetError
from reid.domain.services.screening import NUM_NAMED, ScreenedDataset
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, UnreadableImage
from tests.fakes.dataset import FakeDataset

BAD = {"train/0002_c1_00": "truncated", "query/0001_c1_00": "no such file"}
SIZE = ImageSize(8, 4)


def read_one(dataset: ScreenedDataset, name: str) -> None:
    dataset.reader.read([name], size=SIZE, resampling=Resampling.BILINEAR)


def test_a_sound_dataset_is_what_it_was() -> None:
    plain = FakeDataset()
    for skips_bad in (False, True):
        screened = ScreenedDataset(plain, skips_bad=skips_bad)
        screened.require_readable(tuple(Split))
        assert all(screened.samples(split) == plain.samples(split) for split in Split)
        assert screened.left_out() == ()


def test_all_bad_images_are_named_before_long_work_and_when_the_first_is_met() -> None:
    screened = ScreenedDataset(FakeDataset(damaged=BAD), skips_bad=False)
    looks: list[Callable[[], None]] = [
        lambda: screened.require_readable(tuple(Split)),
        lambda: read_one(screened, "query/0001_c1_00"),
    ]
    for look in looks:
        with pytest.raises(DatasetError) as caught:
            look()
        assert str(caught.value) == (
            "2 images of fake cannot be read:\n"
            "  train/0002_c1_00: truncated\n"
            "  query/0001_c1_00: no such file\n"
            "replace or remove them, or leave them out by dataset.skip_bad"
        )


def test_lists_that_are_not_needed_may_be_bad() -> None:
    screened = ScreenedDataset(FakeDataset(damaged=BAD), skips_bad=False)
    screened.require_readable((Split.GALLERY,))


def test_many_bad_images_are_counted_and_the_first_are_named() -> None:
    samples = [Sample(f"train/{n:03d}", pid=1, camid=0) for n in range(50)]
    damaged = {sample.name: "cut" for sample in samples}
    dataset = FakeDataset(splits={Split.TRAIN: samples}, damaged=damaged)
    with pytest.raises(DatasetError) as caught:
        ScreenedDataset(dataset, skips_bad=False).require_readable((Split.TRAIN,))
    first, *named, rest, _ = str(caught.value).splitlines()
    assert first == "50 images of fake cannot be read:"
    assert len(named) == NUM_NAMED
    assert rest == f"  and {50 - NUM_NAMED} more (the dataset check lists all)"


def test_bad_images_are_left_out_and_named_where_that_is_wanted() -> None:
    plain = FakeDataset(damaged=BAD)
    screened = ScreenedDataset(plain, skips_bad=True)
    screened.require_readable(tuple(Split))
    for split in Split:
        kept = tuple(sample for sample in plain.samples(split) if sample.name not in BAD)
        assert screened.samples(split) == kept
    assert screened.left_out() == tuple(UnreadableImage(*bad) for bad in BAD.items())
    assert screened.left_out((Split.QUERY,)) == (
        UnreadableImage("query/0001_c1_00", "no such file"),
    )


def test_a_list_of_bad_images_alone_is_an_error_even_so() -> None:
    damaged = {sample.name: "cut" for sample in FakeDataset().samples(Split.QUERY)}
    screened = ScreenedDataset(FakeDataset(damaged=damaged), skips_bad=True)
    with pytest.raises(DatasetError, match="not one of the query images of fake can be read"):
        screened.samples(Split.QUERY)


def test_an_image_of_no_list_fails_as_it_did() -> None:
    screened = ScreenedDataset(FakeDataset(), skips_bad=False)
    with pytest.raises(DatasetError, match=r"^unknown person cannot be read: no such image$"):
        read_one(screened, "unknown person")
