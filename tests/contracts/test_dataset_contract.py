"""What every data set and every image list promises, fakes included."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from reid.adapters.datasets.combined import CombinedDataset
from reid.adapters.datasets.csv_dataset import CsvDataset
from reid.adapters.datasets.market1501 import Cuhk03, DukeMtmc, Market1501
from reid.adapters.datasets.msmt17 import Msmt17
from reid.adapters.datasets.viper import Viper
from reid.adapters.events.broadcast import Broadcast
from reid.adapters.images.contents import CachedReader
from reid.adapters.images.folders import open_images
from reid.adapters.synthetic.generator import DrawnDataset
from reid.domain.errors import DatasetError
from reid.domain.services.lists import with_reader
from reid.domain.values.samples import (
    DISTRACTOR_PID,
    JUNK_PID,
    ImageSize,
    ListedImage,
    Resampling,
    Split,
    labels_by_pid,
)
from reid.ports.dataset import Dataset, ImageReader, ImageSource
from tests.builders import build_market1501
from tests.fakes.dataset import FakeDataset, FakeImageSource
from tests.layouts import build_csv, build_cuhk03, build_dukemtmc, build_msmt17, build_viper

TALL, SMALL = ImageSize(48, 24), ImageSize(8, 6)


def _generated(folder: Path) -> Market1501:
    DrawnDataset(
        identities=3,
        images_per_camera=2,
        test_identities=2,
        cameras=2,
        distractors=2,
        junk=2,
        size=ImageSize(32, 16),
    ).draw(folder / "drawn")
    return Market1501(folder / "drawn")


def _built(folder: Path) -> Market1501:
    return Market1501(build_market1501(folder / "Market-1501", junk=2).parent)


def _folder_of_market_names(folder: Path) -> ImageSource:
    return open_images(build_market1501(folder / "market", junk=2) / "bounding_box_test")


def _folder_per_person(folder: Path) -> ImageSource:
    images = sorted((build_market1501(folder / "market") / "query").glob("*.jpg"))
    for number, image in enumerate(images):
        home = folder / "people" / ("ann", "bob")[number % 2]
        home.mkdir(parents=True, exist_ok=True)
        image.rename(home / f"{number}.jpg")
    return open_images(folder / "people")


def _table(folder: Path) -> ImageSource:
    root = build_market1501(folder / "market")
    images = sorted((root / "query").glob("*.jpg"), reverse=True)
    rows = [f"query/{image.name},person {n % 2},{n % 3}" for n, image in enumerate(images)]
    (root / "list.csv").write_text("\n".join(["path,label,camera", *rows]), encoding="utf-8")
    return open_images(root / "list.csv")


def _fake_images(folder: Path) -> ImageSource:
    return FakeImageSource(
        [
            ListedImage(f"{folder.name}/{n}", label=f"person {n % 2}", camera="1")
            for n in (3, 1, 2, 0)
        ]
    )


def _fake_dataset(folder: Path) -> Dataset:
    return FakeDataset(stored=ImageSize(32, 16)) if folder.is_dir() else FakeDataset()


def _combined(folder: Path) -> Dataset:
    return CombinedDataset(
        _built(folder),
        others=[
            Viper(build_viper(folder / "VIPeR")),
            Msmt17(build_msmt17(folder / "MSMT17_V1")),
            FakeDataset(cameras=3),
        ],
    )


def _cached(folder: Path) -> Dataset:
    built = _built(folder)
    return with_reader(built, CachedReader(built.reader, num_bytes=9000, listener=Broadcast()))


DATASETS: dict[str, Callable[[Path], Dataset]] = {
    "market1501": _built,
    "generated": _generated,
    "dukemtmc": lambda folder: DukeMtmc(build_dukemtmc(folder / "DukeMTMC-reID")),
    "cuhk03 detected": lambda folder: Cuhk03(build_cuhk03(folder / "CUHK03-NP")),
    "cuhk03 labeled": lambda folder: Cuhk03(
        build_cuhk03(folder / "CUHK03-NP", original_names=True), boxes="labeled"
    ),
    "msmt17": lambda folder: Msmt17(build_msmt17(folder / "MSMT17_V1")),
    "msmt17 masked": lambda folder: Msmt17(
        build_msmt17(folder / "MSMT17_V2", masked=True), train_on_val=False
    ),
    "viper": lambda folder: Viper(build_viper(folder / "VIPeR")),
    "csv": lambda folder: CsvDataset(build_csv(folder / "people.csv")),
    "combined": _combined,
    "cached": _cached,
    "fake": _fake_dataset,
}
HAVE_DISTRACTORS = ("market1501", "generated", "csv", "combined", "cached", "fake")
SOURCES: dict[str, Callable[[Path], ImageSource]] = {
    "market names": _folder_of_market_names,
    "folder per person": _folder_per_person,
    "table": _table,
    "fake": _fake_images,
}


@pytest.fixture(params=list(DATASETS))
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Dataset:
    return DATASETS[request.param](tmp_path)


@pytest.fixture(params=list(SOURCES.values()), ids=list(SOURCES))
def source(request: pytest.FixtureRequest, tmp_path: Path) -> ImageSource:
    factory: Callable[[Path], ImageSource] = request.param
    return factory(tmp_path)


def _check_thumbnails(reader: ImageReader, names: list[str]) -> None:
    *made, missing = reader.thumbnails([*names, "query/nobody.jpg"], height=6)
    assert missing is None
    assert len(made) == len(names)
    for content in made:
        assert content is not None
        with Image.open(BytesIO(content)) as image:
            assert (image.format, image.mode, image.height) == ("JPEG", "RGB", 6)
            assert not image.getexif()
    assert tuple(reversed(made)) == reader.thumbnails(names[::-1], height=6)
    assert made[0] != made[-1]
    (whole,) = reader.thumbnails(names[:1], height=4000)
    assert whole is not None
    with Image.open(BytesIO(whole)) as image:
        assert image.height < 400


def _check_reading(reader: ImageReader, names: list[str]) -> None:
    assert len(names) >= 3
    batch = reader.read(names, size=TALL, resampling=Resampling.BILINEAR)
    assert batch.shape == (len(names), 3, 48, 24)
    assert batch.dtype == torch.uint8
    assert batch.device.type == "cpu"
    backwards = reader.read(names[::-1], size=TALL, resampling=Resampling.BILINEAR)
    assert torch.equal(backwards, batch.flip(0))
    assert not torch.equal(batch[0], batch[-1])


@pytest.mark.parametrize("split", list(Split))
def test_a_split_is_sorted_by_name_and_the_same_at_every_call(
    dataset: Dataset, split: Split
) -> None:
    samples = dataset.samples(split)
    names = [sample.name for sample in samples]
    assert names == sorted(set(names))
    assert dataset.samples(split) == samples


@pytest.mark.parametrize("split", list(Split))
def test_junk_is_left_out_and_cameras_count_from_zero(dataset: Dataset, split: Split) -> None:
    samples = dataset.samples(split)
    assert all(sample.pid != JUNK_PID for sample in samples)
    assert all(sample.camid >= 0 for sample in samples)


def test_no_camera_is_left_out_between_the_first_and_the_last(dataset: Dataset) -> None:
    cameras = {sample.camid for split in Split for sample in dataset.samples(split)}
    assert cameras == set(range(max(cameras) + 1))
    assert len(cameras) >= 2


def test_distractors_stay_in_the_gallery_and_nowhere_else(
    dataset: Dataset, request: pytest.FixtureRequest
) -> None:
    has_any = request.node.callspec.params["dataset"] in HAVE_DISTRACTORS
    has_distractors = {
        split: any(sample.pid == DISTRACTOR_PID for sample in dataset.samples(split))
        for split in Split
    }
    assert has_distractors == {Split.TRAIN: False, Split.QUERY: False, Split.GALLERY: has_any}


def test_training_labels_are_contiguous_and_ascend_with_the_pid(dataset: Dataset) -> None:
    labels = labels_by_pid(dataset.samples(Split.TRAIN))
    assert list(labels) == sorted(labels)
    assert list(labels.values()) == list(range(len(labels)))


def test_nobody_is_both_trained_on_and_tested_with(dataset: Dataset) -> None:
    train = {sample.pid for sample in dataset.samples(Split.TRAIN)}
    tested = {
        sample.pid for split in (Split.QUERY, Split.GALLERY) for sample in dataset.samples(split)
    }
    assert not train & tested


def test_every_query_has_a_match_from_another_camera(dataset: Dataset) -> None:
    gallery = {(sample.pid, sample.camid) for sample in dataset.samples(Split.GALLERY)}
    for query in dataset.samples(Split.QUERY):
        assert (query.pid, 1 - query.camid) in gallery


def test_names_that_tell_nobody_are_in_no_split(dataset: Dataset) -> None:
    for split in Split:
        assert dataset.unparsed_names(split) == ()


def test_a_dataset_has_a_name(dataset: Dataset) -> None:
    assert dataset.name


def test_a_dataset_reads_images_in_the_order_asked_for(dataset: Dataset) -> None:
    _check_reading(dataset.reader, [sample.name for sample in dataset.samples(Split.QUERY)])


def test_a_dataset_makes_small_jpegs_and_none_of_what_it_cannot_read(dataset: Dataset) -> None:
    _check_thumbnails(dataset.reader, [sample.name for sample in dataset.samples(Split.QUERY)])


def test_a_source_makes_small_jpegs_and_none_of_what_it_cannot_read(source: ImageSource) -> None:
    _check_thumbnails(source.reader, [image.name for image in source.images()])


def test_the_two_filters_differ(dataset: Dataset) -> None:
    names = [sample.name for sample in dataset.samples(Split.QUERY)]
    bilinear, bicubic = (
        dataset.reader.read(names, size=TALL, resampling=resampling) for resampling in Resampling
    )
    assert not torch.equal(bilinear, bicubic)
    assert (bilinear.float() - bicubic.float()).abs().mean() < 12


def test_reading_nothing_gives_an_empty_batch(dataset: Dataset) -> None:
    batch = dataset.reader.read([], size=SMALL, resampling=Resampling.BICUBIC)
    assert batch.shape == (0, 3, 8, 6)
    assert batch.dtype == torch.uint8


def test_an_unknown_image_is_a_dataset_error_that_names_it(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"nobody\.jpg"):
        dataset.reader.read(["query/nobody.jpg"], size=SMALL, resampling=Resampling.BILINEAR)


def test_unreadable_images_are_listed_in_order_with_a_reason(dataset: Dataset) -> None:
    good = dataset.samples(Split.QUERY)[0].name
    found = dataset.reader.find_unreadable(["query/b.jpg", good, "query/a.jpg"])
    assert [unreadable.name for unreadable in found] == ["query/b.jpg", "query/a.jpg"]
    assert all(unreadable.reason for unreadable in found)


def test_a_source_lists_sorted_and_the_same_at_every_call(source: ImageSource) -> None:
    images = source.images()
    names = [image.name for image in images]
    assert names == sorted(set(names))
    assert source.images() == images


def test_a_source_knows_its_labels_and_never_lists_junk(source: ImageSource) -> None:
    labels = {image.label for image in source.images()}
    assert len(labels) >= 2
    assert None not in labels
    assert "-001" not in labels


def test_a_source_reads_images_in_the_order_asked_for(source: ImageSource) -> None:
    _check_reading(source.reader, [image.name for image in source.images()])


def test_a_source_finds_nothing_wrong_with_what_it_lists(source: ImageSource) -> None:
    assert source.reader.find_unreadable([image.name for image in source.images()]) == ()
