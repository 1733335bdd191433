"""Plug-ins, found by their entry points and imported only when they are wanted."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from reid.adapters.indexes.exact import ExactIndex
from reid.container import registry
from reid.container.datasets import create_dataset
from reid.container.encoders import create_encoder
from reid.container.registry import BUILT_IN, Group, call, find, find_plugins, is_built_in, load
from reid.container.root import Container
from reid.container.training import create_losses
from reid.domain.errors import ConfigurationError
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import Split
from reid.importing import Lazily
from reid.settings.catalogue import known_settings
from reid.settings.loading import load_settings
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


def test_a_plug_in_of_each_group_is_found_without_importing_it(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    found = {group: list(find_plugins(group)) for group in Group}
    assert found == {
        Group.ENCODERS: ["means"],
        Group.DATASETS: ["two-people"],
        Group.INDEXES: ["backwards"],
        Group.GALLERIES: ["shelf"],
        Group.LOSSES: ["spread"],
        Group.TRACKERS: ["standing"],
    }
    assert "reid_scenery" not in sys.modules


def test_a_plugged_in_encoder_gets_the_request(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    request = EncoderRequest(kind="means", options={"width": 3})
    assert load(find(Group.ENCODERS, "means"))(request).request is request


def test_a_plugged_in_family_is_asked_for_a_model_of_its_own(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    encoder = create_encoder(EncoderRequest(kind="means:wide"))
    assert encoder.description.name == "means:wide"
    with pytest.raises(ConfigurationError, match="nothing is called 'modes:wide'"):
        create_encoder(EncoderRequest(kind="modes:wide"))


def test_a_plugged_in_dataset_gets_its_root_and_options(install: Install, tmp_path: Path) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    found = find(Group.DATASETS, "two-people")
    dataset = call(found, tmp_path, options={"images": 3}, key="dataset.options")
    assert dataset.name == f"two people in {tmp_path}"
    assert len(dataset.samples(Split.QUERY)) == 6


def test_a_plugged_in_index_gets_its_options_and_no_others(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    found = find(Group.INDEXES, "backwards")
    assert call(found, options={"shift": 2}, key="index.options").shift == 2
    with pytest.raises(ConfigurationError, match=r"^index\.options: backwards .* 'depth'"):
        call(found, options={"depth": 2}, key="index.options")


def test_a_plugged_in_loss_and_tracker_are_made_by_name(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    loss = create_losses({"spread": 0.5})["spread"]
    assert loss(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 1])) == 1.0
    tracker = call(find(Group.TRACKERS, "standing"), options={}, key="tracker.options")
    assert tracker.follow([1, 2]) == [1, 2]


def test_a_loss_that_cannot_be_added_is_refused(install: Install) -> None:
    source = "import torch\ndef learns():\n    return torch.nn.Linear(2, 2)"
    install("reid_more", source, {"reid.losses": {"learns": "reid_more:learns"}})
    for name, said in (
        ("learns", r"^finetuning\.losses: learns has parameters of its own"),
        ("contrast", r"^finetuning\.losses: nothing is called 'contrast'"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            create_losses({name: 1.0})


def test_a_loss_may_not_be_called_as_a_term_of_the_objective(install: Install) -> None:
    install("reid_scenery", SCENERY, {"reid.losses": {"triplet": "reid_scenery:Spread"}})
    with pytest.raises(ConfigurationError, match=r"triplet is a term of the objective already"):
        create_losses({"triplet": 1.0})


def test_a_built_in_kind_imports_no_plug_in(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    assert load(find(Group.INDEXES, "exact")) is ExactIndex
    assert "reid_scenery" not in sys.modules


@pytest.mark.parametrize(
    ("group", "kind"), [(group, kind) for group in Group for kind in BUILT_IN[group]]
)
def test_every_built_in_kind_leads_to_a_factory(group: Group, kind: str) -> None:
    found = find(group, kind)
    assert is_built_in(found)
    assert callable(load(found))


def test_a_new_built_in_kind_is_one_file_and_one_line(
    install: Install, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("reid_scenery", SCENERY, {})
    table = {**BUILT_IN[Group.DATASETS], "two-people": "reid_scenery:two_people"}
    monkeypatch.setattr(registry, "BUILT_IN", {**BUILT_IN, Group.DATASETS: table})
    settings = load_settings(options={"dataset.kind": "two-people", "dataset.root": str(tmp_path)})
    assert len(create_dataset(settings.settings.dataset).samples(Split.QUERY)) == 4


@pytest.mark.parametrize("provider", Container.providers.values(), ids=Container.providers)
def test_every_part_of_the_container_is_where_it_is_said_to_be(provider: object) -> None:
    for name in ("provides", "cls"):
        place = getattr(provider, name, None)
        if isinstance(place, Lazily):
            assert callable(place.load())


def test_an_unknown_kind_lists_what_there_is(install: Install) -> None:
    install("reid_scenery", SCENERY, SCENERY_OFFERS)
    with pytest.raises(ConfigurationError) as caught:
        find(Group.INDEXES, "faiss")
    assert str(caught.value) == (
        "index.kind: nothing is called 'faiss'; built in: annoy, exact, hnsw; "
        "plugged in (reid.indexes): backwards"
    )


@pytest.mark.parametrize("group", Group)
def test_without_plug_ins_the_list_says_none(group: Group) -> None:
    with pytest.raises(ConfigurationError, match=rf"{group.setting}: .*\({group}\): none$"):
        find(group, "duke")


def test_a_plug_in_may_not_take_a_built_in_name(install: Install) -> None:
    install("reid_impostor", "", {"reid.indexes": {"exact": "reid_impostor:nothing"}})
    with pytest.raises(ConfigurationError, match=r"reid_impostor.* takes the name .*'exact'"):
        find(Group.INDEXES, "exact")


def test_two_distributions_may_not_offer_one_kind(install: Install) -> None:
    install("reid_one", "", {"reid.indexes": {"faiss": "reid_one:make"}})
    install("reid_two", "", {"reid.indexes": {"faiss": "reid_two:make"}})
    with pytest.raises(ConfigurationError, match=r"both .*reid_.* and .*reid_.* offer 'faiss'"):
        find_plugins(Group.INDEXES)


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
    plugin = find_plugins(Group.INDEXES)["faiss"]
    with pytest.raises(ConfigurationError, match=f"reid_broken:make of reid_broken.*{said}"):
        load(plugin)


def test_every_group_names_a_setting_that_exists_or_itself() -> None:
    settings = known_settings()
    unset = [group for group in Group if group.setting not in settings]
    assert unset == [Group.TRACKERS]
    assert Group.TRACKERS.setting == "reid.trackers"
