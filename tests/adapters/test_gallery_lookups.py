"""Whether a gallery in a folder reads what was asked for, or all that it keeps."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reid.adapters.galleries.filesystem.gallery import DATABASE, open_filesystem_gallery
from reid.adapters.galleries.sqlite.database import MemoryDatabase
from reid.adapters.galleries.sqlite.records import SqliteReader
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.values.galleries import PictureLookup
from tests.galleries import fill


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(
        open_filesystem_gallery(tmp_path, create=True, create_index=ExactIndex)
    ) as gallery:
        fill(gallery)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as opened:
        yield opened


@pytest.mark.parametrize(
    "wanted",
    [
        PictureLookup(keys=[1, 2]),
        PictureLookup(labels=["a"]),
        PictureLookup(contents=["digest-here-1"]),
        PictureLookup(images=["1.jpg"], source="here"),
        PictureLookup(source="here"),
    ],
    ids=" and ".join,
)
def test_pictures_that_are_asked_for_are_found_by_an_index(
    connection: sqlite3.Connection, wanted: PictureLookup
) -> None:
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    found = SqliteReader(connection, MemoryDatabase(place="")).pictures(**wanted)
    connection.set_trace_callback(None)
    assert found
    (statement,) = [text for text in asked if text.startswith("SELECT key")]
    plan = [text for *_, text in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any(text.startswith("SEARCH pictures USING") for text in plan)
    assert not any(text.startswith("SCAN pictures") for text in plan)
