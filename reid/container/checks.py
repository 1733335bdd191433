"""What a command can refuse before torch is imported: places that are not there, unknown kinds."""

from pathlib import Path
from typing import TYPE_CHECKING

from reid.container import registry
from reid.container.registry import Group
from reid.domain.errors import CheckpointError, ConfigurationError, DatasetError, GalleryError

if TYPE_CHECKING:
    from reid.settings.schema import DatasetSettings, GallerySettings, SourceSettings

FILESYSTEM = "filesystem"


def require_images(*paths: Path) -> None:
    """Refuse images that are not there.

    Raises:
        DatasetError: A path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise DatasetError(
                f"{path} does not exist; give a folder of images, an image or a .csv list"
            )


def require_dataset(settings: "DatasetSettings", *, also: bool = True) -> None:
    """Refuse a dataset of an unknown kind or at a place that is not there.

    Args:
        settings: They name it.
        also: Whether the other datasets are looked at too.

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
                f"the dataset folder {source.root} does not exist; {key}.root names the place of "
                f"{source.kind}"
            )


def require_root(settings: "SourceSettings", *, key: str) -> None:
    """Refuse a built-in dataset that has no place.

    Raises:
        ConfigurationError: Its root is not set.
    """
    if settings.root is None and settings.kind in registry.BUILT_IN[Group.DATASETS]:
        raise ConfigurationError(f"{key}.root: must be set for {settings.kind}")


def require_gallery(
    settings: "GallerySettings",
    name: str,
    *,
    otherwise: str | None = "a folder or .csv list of labelled images",
) -> None:
    """Refuse a gallery of an unknown kind or in a folder that is not there.

    Args:
        settings: They name the kind.
        name: The gallery.
        otherwise: What can stand in its place; None: nothing can.

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
    """Refuse runs that are not there.

    Raises:
        CheckpointError: A folder, or a record's file, does not exist.
    """
    for path in paths:
        if not path.exists():
            raise CheckpointError(f"{path} holds no run: name the folder of a trained run")
