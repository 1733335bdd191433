"""Datasets and image sources, from settings."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container import registry
from reid.container.checks import require_root
from reid.container.foundation import SETTINGS, Foundation
from reid.container.registry import Group
from reid.domain.values.samples import Split
from reid.importing import Lazily

if TYPE_CHECKING:
    from reid.adapters.synthetic.generator import DrawnDataset
    from reid.domain.services.screening import ScreenedDataset
    from reid.ports.dataset import Dataset
    from reid.ports.events import EventListener
    from reid.settings.schema import SourceSettings


def create_dataset(settings: "SourceSettings", *, key: str = "dataset") -> "Dataset":
    """Open the dataset that the settings under `key` name.

    Raises:
        ConfigurationError: No distribution offers this kind, a built-in one has no root, or it
            takes other options.
    """
    require_root(settings, key=key)
    dataset: Dataset = registry.create(Group.DATASETS, settings, settings.root, section=key)
    return dataset


def combine_datasets(dataset: "Dataset", also: Sequence["SourceSettings"]) -> "Dataset":
    """Append the training lists of other datasets to a dataset's; see `create_dataset`."""
    if not also:
        return dataset
    from reid.adapters.datasets.combined import CombinedDataset

    others = [
        create_dataset(settings, key=f"dataset.also[{number}]")
        for number, settings in enumerate(also)
    ]
    return CombinedDataset(dataset, others=others)


def screen_combined(
    combined: "Dataset", *, single: "Dataset", screened: "ScreenedDataset", skips_bad: bool
) -> "ScreenedDataset":
    """Screen the training lists, unless they are those screened already."""
    if combined is single:
        return screened
    from reid.domain.services.screening import ScreenedDataset

    return ScreenedDataset(combined, skips_bad=skips_bad)


def cache_images(dataset: "Dataset", cache_mib: int, *, listener: "EventListener") -> "Dataset":
    """Keep a dataset's decoded images in memory, unless the cache is 0 MiB."""
    if cache_mib == 0:
        return dataset
    from reid.adapters.images.contents import CachedReader
    from reid.domain.services.lists import with_reader

    reader = CachedReader(dataset.reader, num_bytes=cache_mib * 2**20, listener=listener)
    return with_reader(dataset, reader)


class Datasets(Foundation):
    """Datasets, and images from folders or from a program."""

    listed = providers.Singleton(create_dataset, SETTINGS.dataset)
    all_listed = providers.Singleton(combine_datasets, listed, SETTINGS.dataset.also)
    dataset = providers.Singleton["ScreenedDataset"](
        Lazily("reid.domain.services.screening:ScreenedDataset"),
        listed,
        skips_bad=SETTINGS.dataset.skip_bad,
    )
    combined = providers.Singleton(
        screen_combined,
        all_listed,
        single=listed,
        screened=dataset,
        skips_bad=SETTINGS.dataset.skip_bad,
    )
    check_dataset = providers.Callable(
        Lazily("reid.application.check_dataset:check_dataset"), all_listed
    )
    statistics = providers.Callable(Lazily("reid.application.check_dataset:count_splits"), combined)
    odd_about_training = providers.Callable(
        Lazily("reid.application.check_dataset:odd_about_lists"), combined
    )
    odd_about_scored = providers.Callable(
        Lazily("reid.application.check_dataset:odd_about_lists"),
        dataset,
        splits=(Split.QUERY, Split.GALLERY),
    )
    drawn_dataset = providers.Factory["DrawnDataset"](
        Lazily("reid.adapters.synthetic.generator:DrawnDataset")
    )

    images = providers.Object(Lazily("reid.adapters.images.folders:open_images"))
    followed_images = providers.Object(Lazily("reid.adapters.images.folders:open_followed"))
    given_images = providers.Object(Lazily("reid.adapters.images.given:give_images"))
