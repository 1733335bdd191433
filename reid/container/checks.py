"""Checks of paths and kinds that a command makes before it imports torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from reid.container import registry
from reid.container.registry import Group
from reid.domain.errors import CheckpointError, ConfigurationError, DatasetError, GalleryError

if TYPE_CHECKING:
    from reid.settings.schema import DatasetSettings, GallerySettings, SourceSettings

FILESYSTEM = "filesystem"


def require_images(*paths: Path) -> None:
    """Refuse images that do not exist by a `DatasetError`."""
    for path in paths:
        if not path.exists():
            raise DatasetError(
                f"{path} does not exist; give a folder of images, an image or a .csv list"
            )


def require_dataset(settings: "DatasetSettings", *, also: bool = True) -> None:
    """Refuse a dataset of an unknown kind or whose root does not exist.

    `also` checks the additional training datasets too.

    Raises:
        ConfigurationError: No distribution offers the kind, or its root is not set.
        DatasetError: The root does not exist.
    """
    for number, source in enumerate((settings, *(settings.also if also else ())), start=-1):
        key = "dataset" if source is settings else f"dataset.also[{number}]"
        found = registry.find(Group.DATASETS, source.kind, setting=f"{key}.kind")
        require_root(source, key=key)
        # Plug-ins need no files.
        if registry.is_built_in(found) and source.root and not source.root.exists():
            raise DatasetError(
                f"the dataset folder {source.root} does not exist: set {key}.root to the folder of "
                f"{source.kind}"
            )


def require_root(settings: "SourceSettings", *, key: str) -> None:
    """Refuse a built-in dataset without a root by a `ConfigurationError`."""
    if settings.root is None and settings.kind in registry.BUILT_IN[Group.DATASETS]:
        raise ConfigurationError(f"{key}.root: must be set for {settings.kind}")


def require_gallery(
    settings: "GallerySettings",
    name: str,
    *,
    otherwise: str | None = "a folder or .csv list of labelled images",
) -> None:
    """Refuse a gallery of an unknown kind or in a folder that does not exist.

    `otherwise` is what the command accepts instead of a gallery; None: nothing.

    Raises:
        ConfigurationError: No distribution offers the kind.
        GalleryError: The folder does not exist.
    """
    registry.find(Group.GALLERIES, settings.kind)
    if settings.kind == FILESYSTEM and not Path(name).exists():
        raise GalleryError(
            f"{name} holds no gallery: make one by `reid gallery build`"
            if otherwise is None
            else f"{name} does not exist: make a gallery by `reid gallery build {name} IMAGES`, "
            f"or give {otherwise}"
        )


def require_run(*paths: Path) -> None:
    """Refuse runs and records that do not exist by a `CheckpointError`."""
    for path in paths:
        if not path.exists():
            raise CheckpointError(f"{path} holds no run: name the folder of a trained run")
