"""Encoders, datasets and indexes from other distributions, found by their entry points.

A distribution offers an adapter in one of three groups; the entry point's name is the `kind` in
settings, its object the factory:

    reid.encoders   (request: EncoderRequest) -> Encoder
    reid.datasets   (root: Path | None, options: Mapping[str, JsonValue]) -> Dataset
    reid.indexes    (options: Mapping[str, JsonValue]) -> VectorIndex
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any, TypeAlias

from reid.domain.errors import ConfigurationError

Factory: TypeAlias = Callable[..., Any]


class PluginGroup(StrEnum):
    """Entry-point groups."""

    ENCODERS = "reid.encoders"
    DATASETS = "reid.datasets"
    INDEXES = "reid.indexes"

    @property
    def setting(self) -> str:
        """The setting that picks from this group."""
        return {
            PluginGroup.ENCODERS: "encoder.kind",
            PluginGroup.DATASETS: "dataset.kind",
            PluginGroup.INDEXES: "index.kind",
        }[self]


BUILT_IN_KINDS: Mapping[PluginGroup, tuple[str, ...]] = {
    PluginGroup.ENCODERS: ("rn50", "vit-b16", "rn-tiny", "vit-tiny"),
    PluginGroup.DATASETS: ("market1501", "msmt17", "dukemtmc", "cuhk03", "viper", "csv"),
    PluginGroup.INDEXES: ("exact", "annoy", "hnsw"),
}
"""Names that need no plug-in; they stand here because the adapters themselves load torch."""


def find_plugins(group: PluginGroup) -> dict[str, EntryPoint]:
    """List what installed distributions offer, by kind; reads metadata once and imports nothing.

    Raises:
        ConfigurationError: Two distributions offer the same kind.
    """
    found: dict[str, EntryPoint] = {}
    for entry_point in sorted(_offered(group, tuple(sys.path)), key=lambda entry: entry.name):
        other = found.setdefault(entry_point.name, entry_point)
        # One distribution can be listed twice, from an editable install and its build folder.
        if other.value != entry_point.value:
            raise ConfigurationError(
                f"{group.setting}: both {_offer(other)} and {_offer(entry_point)} offer "
                f"{entry_point.name!r}; uninstall one of them"
            )
    return found


@cache
def _offered(group: PluginGroup, _: tuple[str, ...]) -> EntryPoints:
    """Look through what is installed in the places given, which takes as long as an answer."""
    return entry_points(group=group)


def load_plugin(entry_point: EntryPoint) -> Factory:
    """Import a plug-in's factory.

    Raises:
        ConfigurationError: The import fails, for whatever reason, or brings nothing callable.
    """
    try:
        factory = entry_point.load()
    except Exception as error:
        raise ConfigurationError(
            f"plug-in {_offer(entry_point)} cannot be imported: {type(error).__name__}: {error}; "
            f"mend or uninstall it"
        ) from error
    if not callable(factory):
        raise ConfigurationError(f"plug-in {_offer(entry_point)} is not callable: {factory!r}")
    return factory  # type: ignore[no-any-return]  # a callable of unknown signature


def choose_factory(
    group: PluginGroup, kind: str, *, built_in: Mapping[str, Factory], setting: str | None = None
) -> Factory:
    """Pick a built-in factory or import a plugged-in one.

    Args:
        group: What is wanted.
        kind: Its name.
        built_in: Factories by name.
        setting: Where the name stands, for messages; None: in the group's own setting.

    Raises:
        ConfigurationError: Nobody offers this kind, or a plug-in takes the name of a built-in one.
    """
    plugins = find_plugins(group)
    for name in plugins:
        if name in built_in:
            raise ConfigurationError(
                f"{group.setting}: {_offer(plugins[name])} takes the name of the built-in "
                f"{name!r}; rename its entry point or uninstall it"
            )
    if kind in built_in:
        return built_in[kind]
    if kind in plugins:
        return load_plugin(plugins[kind])
    raise _unknown(group, kind, built_in=built_in, plugins=plugins, setting=setting)


def check_kind(group: PluginGroup, kind: str) -> None:
    """Find out whether anybody offers a kind; imports no adapter.

    Raises:
        ConfigurationError: Nobody does.
    """
    built_in, plugins = BUILT_IN_KINDS[group], find_plugins(group)
    if kind not in built_in and kind not in plugins:
        raise _unknown(group, kind, built_in=built_in, plugins=plugins)


def _unknown(
    group: PluginGroup,
    kind: str,
    *,
    built_in: Iterable[str],
    plugins: Iterable[str],
    setting: str | None = None,
) -> ConfigurationError:
    return ConfigurationError(
        f"{setting or group.setting}: nothing is called {kind!r}; built in: {_listed(built_in)}; "
        f"plugged in ({group}): {_listed(plugins)}"
    )


def _offer(entry_point: EntryPoint) -> str:
    distribution = entry_point.dist.name if entry_point.dist else "an unnamed distribution"
    return f"{entry_point.value} of {distribution}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
