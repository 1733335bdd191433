"""Adapters by the names that settings use: one table per group, for built-in ones and plug-ins.

A table maps a kind to an entry point: `module:name` and, in brackets, the extra of this
distribution that it needs. The built-in ones are listed below; other distributions declare
plug-ins in their metadata, in the group of that name. Both are called in the same way:

    reid.encoders   factory(request: EncoderRequest) -> Encoder; a family too, as `timm:NAME`
    reid.datasets   factory(root: Path | None, **options) -> Dataset
    reid.indexes    factory(**options) -> VectorIndex
    reid.galleries  factory(request: GalleryRequest) -> Gallery
    reid.losses     factory() -> Loss, a callable of features and labels
    reid.trackers   factory(**options) -> tracker

To add a built-in adapter: write its file and add its line here, or, for a kind of encoder, in
`reid/adapters/encoders/kinds.py`.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

from reid.adapters.encoders.kinds import FAMILIES, KINDS
from reid.domain.errors import ConfigurationError
from reid.extras import EXTRAS, needed_for
from reid.importing import paused_collection

if TYPE_CHECKING:
    from reid.settings.schema import GallerySettings, IndexSettings, SourceSettings

Factory: TypeAlias = Callable[..., Any]


class Group(StrEnum):
    """Groups of adapters that settings choose by name; the values are entry point groups."""

    ENCODERS = "reid.encoders"
    DATASETS = "reid.datasets"
    INDEXES = "reid.indexes"
    GALLERIES = "reid.galleries"
    LOSSES = "reid.losses"
    TRACKERS = "reid.trackers"

    @property
    def setting(self) -> str:
        """The setting that picks from this group; the group's name while none does."""
        return {
            Group.ENCODERS: "encoder.kind",
            Group.DATASETS: "dataset.kind",
            Group.INDEXES: "index.kind",
            Group.GALLERIES: "gallery.kind",
            Group.LOSSES: "finetuning.losses",
        }.get(self, self.value)


_CLIP = "reid.adapters.encoders.clip:create_clip_encoder"

BUILT_IN: Mapping[Group, Mapping[str, str]] = {
    Group.ENCODERS: dict.fromkeys(KINDS, _CLIP) | FAMILIES,
    Group.DATASETS: {
        "market1501": "reid.adapters.datasets.market1501:Market1501",
        "msmt17": "reid.adapters.datasets.msmt17:Msmt17",
        "dukemtmc": "reid.adapters.datasets.market1501:DukeMtmc",
        "cuhk03": "reid.adapters.datasets.market1501:Cuhk03",
        "viper": "reid.adapters.datasets.viper:Viper",
        "csv": "reid.adapters.datasets.csv_dataset:CsvDataset",
    },
    Group.INDEXES: {
        "exact": "reid.adapters.indexes.exact:ExactIndex",
        "annoy": "reid.adapters.indexes.annoy:AnnoyIndex",
        "hnsw": "reid.adapters.indexes.hnsw:HnswIndex [hnsw]",
    },
    Group.GALLERIES: {
        "filesystem": "reid.container.galleries:open_folder",
        "postgres": "reid.container.galleries:open_postgres",
        "milvus": "reid.container.galleries:open_milvus",
    },
    Group.LOSSES: {},
    Group.TRACKERS: {},
}
"""Entry points by group and kind, as strings: nothing is imported before it is used."""


def find(group: Group, kind: str, *, setting: str | None = None) -> EntryPoint:
    """Look up a kind without importing it; `setting` holds the name, if not the group's own.

    What stands before a colon names a family, whose factory knows what stands behind it.

    Raises:
        ConfigurationError: No distribution offers this kind, two do, or a plug-in takes the name
            of a built-in one.
    """
    built_in, plugins = BUILT_IN[group], find_plugins(group)
    for name in plugins.keys() & built_in.keys():
        raise ConfigurationError(
            f"{group.setting}: {_offer(plugins[name])} takes the name of the built-in "
            f"{name!r}; rename its entry point or uninstall it"
        )
    family = kind.partition(":")[0]
    if family in built_in:
        return EntryPoint(family, built_in[family], group)
    if family in plugins:
        return plugins[family]
    raise ConfigurationError(
        f"{setting or group.setting}: nothing is called {kind!r}; built in: {_listed(built_in)}; "
        f"plugged in ({group}): {_listed(plugins)}"
    )


def find_plugins(group: Group) -> dict[str, EntryPoint]:
    """List installed plug-ins by kind, without importing them; two of a kind are an error."""
    found: dict[str, EntryPoint] = {}
    for entry_point in sorted(_offered(group, tuple(sys.path)), key=lambda entry: entry.name):
        other = found.setdefault(entry_point.name, entry_point)
        # An editable install and its build folder list the same distribution twice.
        if other.value != entry_point.value:
            raise ConfigurationError(
                f"{group.setting}: both {_offer(other)} and {_offer(entry_point)} offer "
                f"{entry_point.name!r}; uninstall one of them"
            )
    return found


@cache
def _offered(group: Group, _: tuple[str, ...]) -> EntryPoints:
    """Cache the search of installed metadata on a path, which is slow."""
    return entry_points(group=group)


def load(found: EntryPoint) -> Factory:
    """Import a factory.

    Raises:
        ConfigurationError: A required package or the plug-in cannot be imported, or the plug-in
            is not callable.
    """
    with paused_collection():
        if is_built_in(found):
            package = next((extra.package for extra in EXTRAS if extra.extra in found.extras), None)
            what = f"{Group(found.group).setting}: {found.name}"
            with needed_for(what, package=package) if package else nullcontext():
                return found.load()  # type: ignore[no-any-return]  # of unknown signature
        try:
            factory = found.load()
        except Exception as error:
            raise ConfigurationError(
                f"plug-in {_offer(found)} cannot be imported: {type(error).__name__}: {error}; "
                "repair or uninstall it"
            ) from error
    if not callable(factory):
        raise ConfigurationError(f"plug-in {_offer(found)} is not callable: {factory!r}")
    return factory  # type: ignore[no-any-return]  # likewise


def is_built_in(found: EntryPoint) -> bool:
    """Whether it is an adapter of this distribution and not a plug-in."""
    return found.value == BUILT_IN[Group(found.group)].get(found.name)


def call(found: EntryPoint, *arguments: object, options: Mapping[str, object], key: str) -> Any:  # noqa: ANN401
    """Call a factory with the arguments of its group and its own options from settings.

    Raises:
        ConfigurationError: It cannot be imported, or does not take the options under `key`.
    """
    factory = load(found)
    try:
        signature(factory).bind(*arguments, **options)
    except TypeError as error:
        raise ConfigurationError(f"{key}: {found.name} does not take these: {error}") from error
    return factory(*arguments, **options)


def create(
    group: Group,
    settings: "GallerySettings | IndexSettings | SourceSettings",
    *arguments: object,
    section: str,
) -> Any:  # noqa: ANN401
    """Call the factory that the settings of a section name, with their options.

    Raises:
        ConfigurationError: No distribution offers this kind, or it takes other options.
    """
    found = find(group, settings.kind, setting=f"{section}.kind")
    options = options_of(settings, section=section)
    return call(found, *arguments, options=options, key=f"{section}.options")


def options_of(
    settings: "GallerySettings | IndexSettings | SourceSettings", *, section: str
) -> Mapping[str, object]:
    """Return a kind's own section of settings, or its free options if it has no section.

    Raises:
        ConfigurationError: There are free options in addition to a section.
    """
    own, kind = settings.kind_options, settings.kind
    if own is None:
        return settings.options
    if settings.options:
        raise ConfigurationError(
            f"{section}.options: {kind} takes none: its own settings are in {section}.{kind}"
        )
    return own


def _offer(entry_point: EntryPoint) -> str:
    distribution = entry_point.dist.name if entry_point.dist else "an unnamed distribution"
    return f"{entry_point.value} of {distribution}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
