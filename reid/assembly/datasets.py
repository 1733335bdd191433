"""Datasets by the names that settings use, built-in or plugged-in."""

from collections.abc import Sequence
from pathlib import Path

from reid.adapters.datasets.combined import CombinedDataset
from reid.adapters.images.cache import CachedReader
from reid.adapters.images.folders import open_pictures
from reid.adapters.synthetic.generator import generate_market1501
from reid.assembly.requirements import refuse_options
from reid.domain.errors import ConfigurationError
from reid.domain.services.lists import with_reader
from reid.domain.services.screening import ScreenedDataset
from reid.plugins import Factory, PluginGroup, choose_factory
from reid.ports.dataset import Dataset, PictureSource
from reid.ports.events import EventListener
from reid.settings.schema import SourceSettings


def create_dataset(
    settings: SourceSettings, built_in: dict[str, Factory], *, key: str = "dataset"
) -> Dataset:
    """Open the dataset that is asked for, built-in or plugged-in.

    Args:
        settings: What to open.
        built_in: Factories by kind: of the root, and of what the kind's own section holds.
        key: Where the settings stand, for messages.

    Raises:
        ConfigurationError: Nobody offers this kind, or a built-in one has no root.
    """
    factory = choose_factory(
        PluginGroup.DATASETS, settings.kind, built_in=built_in, setting=f"{key}.kind"
    )
    if settings.kind not in built_in:
        plugged_in: Dataset = factory(settings.root, settings.options)
        return plugged_in
    refuse_options(f"{key}.options", settings.kind, settings.options)
    if settings.root is None:
        raise ConfigurationError(
            f"{key}.root: must be set for {settings.kind}; name the folder by "
            + ("--data ROOT, REID_DATASET__ROOT or [dataset] root" if key == "dataset" else "root")
        )
    built: Dataset = factory(settings.root, **settings.kind_options)
    return built


def screen_combined(
    combined: Dataset, *, single: Dataset, screened: ScreenedDataset, skips_bad: bool
) -> ScreenedDataset:
    """Screen what is trained on, unless it is what is screened already."""
    if combined is single:
        return screened
    return ScreenedDataset(combined, skips_bad=skips_bad)


def combine_datasets(
    dataset: Dataset, also: Sequence[SourceSettings], built_in: dict[str, Factory]
) -> Dataset:
    """Join the training lists of other datasets, if there are any, to a dataset's.

    Raises:
        ConfigurationError: One of them cannot be opened; see `create_dataset`.
    """
    others = [
        create_dataset(settings, built_in, key=f"dataset.also[{number}]")
        for number, settings in enumerate(also)
    ]
    return CombinedDataset(dataset, others=others) if others else dataset


def cache_pictures(dataset: Dataset, cache_mib: int, *, listener: EventListener) -> Dataset:
    """Keep a dataset's decoded pictures in memory, unless the memory is to be none."""
    if cache_mib == 0:
        return dataset
    reader = CachedReader(dataset.reader, num_bytes=cache_mib * 2**20, listener=listener)
    return with_reader(dataset, reader)


def draw_demo_people(root: Path, seed: int) -> None:
    """Draw what `reid demo` trains and tests on, replacing what an earlier demo drew."""
    generate_market1501(
        root,
        identities=64,
        test_identities=32,
        images_per_camera=3,
        cameras=4,
        distractors=60,
        junk=10,
        seed=seed,
        overwrite=True,
    )


def open_splits(root: Path) -> tuple[PictureSource, PictureSource]:
    """Open the query and gallery folders of a dataset in Market-1501's layout as pictures."""
    return open_pictures(root / "query"), open_pictures(root / "bounding_box_test")
