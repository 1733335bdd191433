"""What all records of runs promise to their readers."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.adapters.runs.records import FilesystemRunRecords
from reid.ports.runs import RunMode, RunRecords, RunStore
from tests.fakes.run_records import FakeRunRecords
from tests.fakes.run_store import FakeRunStore

Kept = tuple[RunStore, Callable[[], RunRecords]]


def on_disk(folder: Path) -> Kept:
    return FilesystemRunStore(folder / "one"), lambda: FilesystemRunRecords(folder / "one")


def in_memory(_: Path) -> Kept:
    store = FakeRunStore()
    return store, lambda: FakeRunRecords.of(store, "one")


@pytest.fixture(params=[on_disk, in_memory], ids=["filesystem", "fake"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    make: Callable[[Path], Kept] = request.param
    return make(tmp_path)


def test_what_was_recorded_is_read(kept: Kept) -> None:
    store, read = kept
    store.begin({"seed": 1}, {"torch": "2.8"}, mode=RunMode.NEW)
    store.record("evaluation", {"mAP": 0.5})
    store.record("demo", {"answers": [1, 2]})
    records = read()
    assert records.names() == ("demo", "evaluation")
    assert records.report("evaluation") == {"mAP": 0.5}
    manifest = records.manifest()
    assert manifest is not None
    assert manifest["fingerprint"] == {"seed": 1}
    assert manifest["environment"] == {"torch": "2.8"}


def test_where_nothing_was_recorded_nothing_is_read(kept: Kept) -> None:
    _, read = kept
    assert read().names() == ()
    assert read().manifest() is None
    assert read().report("evaluation") is None
    assert read().progress() == ()


def test_a_run_has_a_name_and_a_place(kept: Kept) -> None:
    _, read = kept
    assert read().name == "one"
    assert "one" in read().place
