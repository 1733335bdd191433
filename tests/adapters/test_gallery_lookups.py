"""Whether a gallery in a folder reads what was asked for, or all that it keeps."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from reid.adapters.galleries import records
from reid.adapters.galleries.filesystem import DATABASE, open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from tests.contracts.test_gallery_contract import fill


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(
        open_filesystem_gallery(tmp_path, create=True, create_index=ExactIndex)
    ) as gallery:
        fill(gallery)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("among", "source"),
    [
        ({"key": [1, 2]}, None),
        ({"label": ["a"]}, None),
        ({"content": ["digest-here-1"]}, None),
        ({"image": ["1.jpg"]}, "here"),
    ],
)
def test_pictures_that_are_asked_for_are_found_by_an_index(
    connection: sqlite3.Connection, among: dict[str, list[int] | list[str]], source: str | None
) -> None:
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    found = records.read_pictures(connection, among=among, source=source, expired_at=None)
    connection.set_trace_callback(None)
    assert found
    (statement,) = [text for text in asked if text.startswith("SELECT key")]
    plan = [text for *_, text in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    assert any(text.startswith("SEARCH pictures USING") for text in plan)
    assert not any(text.startswith("SCAN pictures") for text in plan)
