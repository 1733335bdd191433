"""What every run store promises."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint
from reid.ports.runs import RunMode, RunStore
from tests.fakes.run_store import FakeRunStore

STORES: dict[str, Callable[[Path], RunStore]] = {
    "filesystem": lambda folder: FilesystemRunStore(folder / "runs" / "one"),
    "fake": lambda _: FakeRunStore(),
}


@pytest.fixture(params=list(STORES.values()), ids=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    factory: Callable[[Path], RunStore] = request.param
    return factory(tmp_path)


def begin(store: RunStore, *, seed: int = 1, mode: RunMode = RunMode.NEW) -> None:
    store.begin({"seed": seed, "sizes": [1, 2]}, {"torch": "2.8"}, mode=mode)


def test_a_checkpoint_comes_back_as_it_was_saved(store: RunStore) -> None:
    begin(store)
    tensors = {
        "a.weight": torch.randn(3, 2),
        "steps": torch.tensor(7),
        "mask": torch.tensor([True]),
    }
    store.save("state", Checkpoint(tensors=tensors, header={"epoch": 3, "losses": {"total": 0.5}}))
    loaded = store.load("state")
    assert loaded is not None
    assert loaded.header == {"epoch": 3, "losses": {"total": 0.5}}
    assert loaded.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


def test_a_saved_checkpoint_does_not_follow_later_changes(store: RunStore) -> None:
    begin(store)
    tensor = torch.zeros(2)
    store.save("state", Checkpoint(tensors={"a": tensor}))
    tensor += 1
    loaded = store.load("state")
    assert loaded is not None
    assert torch.equal(loaded.tensors["a"], torch.zeros(2))


def test_the_last_checkpoint_of_a_name_wins(store: RunStore) -> None:
    begin(store)
    for epoch in (1, 2):
        store.save("state", Checkpoint(tensors={"a": torch.zeros(1)}, header={"epoch": epoch}))
    loaded = store.load("state")
    assert loaded is not None
    assert loaded.header["epoch"] == 2


def test_an_unknown_checkpoint_is_none(store: RunStore) -> None:
    begin(store)
    assert store.load("state") is None


def test_a_discarded_checkpoint_is_gone(store: RunStore) -> None:
    begin(store)
    store.save("state", Checkpoint(tensors={"a": torch.zeros(1)}))
    store.discard("state")
    store.discard("state")
    assert store.load("state") is None


def test_a_place_holds_one_run(store: RunStore) -> None:
    begin(store)
    with pytest.raises(CheckpointError, match="resume"):
        begin(store)


def test_a_run_with_the_same_fingerprint_values_is_taken_up_again(store: RunStore) -> None:
    begin(store)
    store.save("state", Checkpoint(tensors={"a": torch.ones(1)}))
    begin(store, mode=RunMode.GO_ON)
    assert store.load("state") is not None


def test_a_run_with_other_fingerprint_values_is_not_taken_up(store: RunStore) -> None:
    begin(store, seed=1)
    with pytest.raises(CheckpointError, match=r"then.*now"):
        begin(store, seed=2, mode=RunMode.GO_ON)


def test_nothing_is_resumed_where_no_run_is(store: RunStore) -> None:
    with pytest.raises(CheckpointError, match="no run to go on with"):
        begin(store, mode=RunMode.GO_ON)


def test_what_a_run_did_not_know_yet_is_added_and_held_to_from_then_on(store: RunStore) -> None:
    begin(store)
    store.begin({"epochs": 3}, {}, mode=RunMode.GO_ON)
    store.begin({"epochs": 3, "seed": 1}, {}, mode=RunMode.GO_ON)
    with pytest.raises(CheckpointError, match="epochs"):
        store.begin({"epochs": 4}, {}, mode=RunMode.GO_ON)


def test_a_replaced_run_is_gone(store: RunStore) -> None:
    begin(store)
    store.save("encoder", Checkpoint(tensors={"a": torch.ones(1)}))
    begin(store, seed=2, mode=RunMode.REPLACE)
    assert store.load("encoder") is None
    begin(store, seed=2, mode=RunMode.GO_ON)


def test_places_tell_stores_apart(store: RunStore, tmp_path: Path) -> None:
    assert store.place != FilesystemRunStore(tmp_path / "another").place
