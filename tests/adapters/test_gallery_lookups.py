"""Whether a gallery in a folder reads what was asked for, or all that it keeps."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reid.adapters.galleries.filesystem.gallery import DATABASE, open_filesystem_gallery
from reid.adapters.galleries.sqlite.transaction import SqliteTransaction
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.values.galleries import ImageLookup
from tests.galleries import enroll


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(
        open_filesystem_gallery(tmp_path, create=True, create_index=ExactIndex)
    ) as gallery:
        enroll(gallery)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as opened:
        yield opened


@pytest.mark.parametrize(
    "wanted",
    [
        ImageLookup(keys=[1, 2]),
        ImageLookup(labels=["a"]),
        ImageLookup(contents=["digest-here-1"]),
        ImageLookup(names=["1.jpg"], source="here"),
        ImageLookup(source="here"),
    ],
    ids=" and ".join,
)
def test_images_that_are_asked_for_are_found_by_an_index(
    connection: sqlite3.Connection, wanted: ImageLookup
) -> None:
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    found = SqliteTransaction(connection).images(**wanted)
    connection.set_trace_callback(None)
    assert found
    (statement,) = [text for text in asked if text.startswith("select key")]
    plan = [text for *_, text in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any(text.startswith("SEARCH images USING") for text in plan)
    assert not any(text.startswith("SCAN images") for text in plan)
