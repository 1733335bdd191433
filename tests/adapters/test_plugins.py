"""Plug-ins, found by their entry points and imported only when they are wanted."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import Split
from reid.plugins import PluginGroup, choose_factory, find_plugins, load_plugin
from tests.adapters.plugin_distributions import (
    SCENERY,
    SCENERY_OFFERS,
    Install,
    Offers,
    write_distribution,
)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, source: str, offers: Offers) -> None:
        write_distribution(tmp_path, name=name, source=source, offers=offers)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("reid_"):
            del sys.modules[name]


def exact() -> str:
    return "the built-in one"


def test_a_plug_in_of_each_group_is_found_without_importing_it(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    assert list(find_plugins(PluginGroup.ENCODERS)) == ["means"]
    assert list(find_plugins(PluginGroup.DATASETS)) == ["two-people"]
    assert list(find_plugins(PluginGroup.INDEXES)) == ["backwards"]
    assert "reid_scenery" not in sys.modules


def test_a_plugged_in_encoder_gets_the_request(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    request = EncoderRequest(kind="means", options={"width": 3})
    factory = choose_factory(PluginGroup.ENCODERS, "means", built_in={"exact": exact})
    assert factory(request).request is request


def test_a_plugged_in_dataset_gets_its_root_and_options(install: Install, tmp_path: Path) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    factory = choose_factory(PluginGroup.DATASETS, "two-people", built_in={"exact": exact})
    dataset = factory(tmp_path, {"pictures": 3})
    assert dataset.name == f"two people in {tmp_path}"
    assert len(dataset.samples(Split.QUERY)) == 6


def test_a_plugged_in_index_gets_its_options(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    factory = choose_factory(PluginGroup.INDEXES, "backwards", built_in={"exact": exact})
    assert factory({"shift": 2}).shift == 2


def test_a_built_in_kind_imports_no_plug_in(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    chosen = choose_factory(PluginGroup.INDEXES, "exact", built_in={"exact": exact})
    assert chosen is exact
    assert "reid_scenery" not in sys.modules


def test_an_unknown_kind_lists_what_there_is(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    with pytest.raises(ConfigurationError) as caught:
        choose_factory(PluginGroup.INDEXES, "faiss", built_in={"exact": exact, "annoy": exact})
    assert str(caught.value) == (
        "index.kind: nothing is called 'faiss'; built in: annoy, exact; "
        "plugged in (reid.indexes): backwards"
    )


def test_without_plug_ins_the_list_says_none() -> None:
    with pytest.raises(ConfigurationError, match=r"plugged in \(reid.datasets\): none$"):
        choose_factory(PluginGroup.DATASETS, "duke", built_in={"market1501": exact})


def test_a_plug_in_may_not_take_a_built_in_name(install: Install) -> None:
    install("reid_impostor", "", {"reid.indexes": {"exact": "reid_impostor:nothing"}})
    with pytest.raises(ConfigurationError, match=r"reid_impostor.* takes the name .*'exact'"):
        choose_factory(PluginGroup.INDEXES, "exact", built_in={"exact": exact})


def test_two_distributions_may_not_offer_one_kind(install: Install) -> None:
    install("reid_one", "", {"reid.indexes": {"faiss": "reid_one:make"}})
    install("reid_two", "", {"reid.indexes": {"faiss": "reid_two:make"}})
    with pytest.raises(ConfigurationError, match=r"both .*reid_.* and .*reid_.* offer 'faiss'"):
        find_plugins(PluginGroup.INDEXES)


@pytest.mark.parametrize(
    ("source", "value", "said"),
    [
        ("import a_library_that_is_not_there", "reid_broken:make", "ModuleNotFoundError"),
        ("1 / 0", "reid_broken:make", "ZeroDivisionError"),
        ("", "reid_broken:make", "AttributeError"),
        ("make = 3", "reid_broken:make", "is not callable: 3"),
    ],
)
def test_a_broken_plug_in_is_named(install: Install, source: str, value: str, said: str) -> None:
    install("reid_broken", source, {"reid.indexes": {"faiss": value}})
    plugin = find_plugins(PluginGroup.INDEXES)["faiss"]
    with pytest.raises(ConfigurationError, match=f"reid_broken:make of reid_broken.*{said}"):
        load_plugin(plugin)
