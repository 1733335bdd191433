"""A gallery folder of somebody else: no file outside it is opened for writing or deleted."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reid.adapters.galleries.sqlite.transaction import SqliteTransaction
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction
from tests.adapters.gallery_changes import add, names_of, nearest, open_gallery
from tests.galleries import entry

PRECIOUS = "a thesis"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A gallery with a kept index, beside a file that is not its own."""
    folder = tmp_path / "gallery"
    with closing(open_gallery(folder)) as gallery:
        add(gallery, names_of(40))
        nearest(gallery, "b-4.jpg")
    for name in ("precious.txt", "precious.f32", "precious.bin"):
        (tmp_path / name).write_text(PRECIOUS)
    return folder


DEEDS: dict[str, Callable[[Gallery], object]] = {
    "search": lambda gallery: nearest(gallery, "b-4.jpg"),
    "add": lambda gallery: add(gallery, names_of(40, prefix="new")),
    "erase": lambda gallery: gallery.erase([1, 2], entry=entry(AuditAction.FORGET)),
    "compact": lambda gallery: gallery.compact(),
    "add and search": lambda gallery: (
        add(gallery, names_of(40, prefix="new")),
        nearest(gallery, "b-4.jpg"),
    ),
}


@pytest.fixture(params=list(DEEDS.values()), ids=list(DEEDS))
def deed(request: pytest.FixtureRequest) -> Callable[[Gallery], object]:
    chosen: Callable[[Gallery], object] = request.param
    return chosen


def require_untouched(parent: Path) -> None:
    for name in ("precious.txt", "precious.f32", "precious.bin"):
        assert (parent / name).read_text() == PRECIOUS
        assert not (parent / name).is_symlink()


STATES = {
    "a file above": "../precious",
    "an absolute path": "/tmp/precious",
    "a way out": "x/../../precious",
    "a generation that leads out": "x/../../precious-40-16",
    "rows that lead out": "1-x/../../precious-16",
    "digits of another script": "\u0661-40-16",
    "a line more": "1-40-16\n",
    "no rows of anything": "0-0-0",
    "more rows than there are": "1-99999-16",
    "wider rows than there are": "1-40-99",
    "rows too long for any file": "1-999999999999999999-999999999",
}


def lie(folder: Path, state: str) -> None:
    """Write a state with the checksum that goes with it."""
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        SqliteTransaction(connection).keep_vectors_state(state)
        connection.commit()


@pytest.mark.parametrize("state", list(STATES.values()), ids=list(STATES))
def test_a_name_in_the_database_leads_to_no_file_outside(
    folder: Path, deed: Callable[[Gallery], object], state: str
) -> None:
    (folder / "vectors-x").mkdir()
    (folder / "index-1-40-x").mkdir()
    lie(folder, state)
    with closing(open_gallery(folder, create=False)) as gallery:
        assert any("is damaged" in fault for fault in gallery.check())
        with suppress(GalleryError):  # not every deed has to do with every file
            deed(gallery)
    require_untouched(folder.parent)


@pytest.mark.parametrize("state", list(STATES.values()), ids=list(STATES))
def test_a_search_in_a_gallery_with_a_foreign_name_says_that_it_is_damaged(
    folder: Path, state: str
) -> None:
    lie(folder, state)
    with (
        closing(open_gallery(folder, create=False)) as gallery,
        pytest.raises(GalleryError, match="is damaged"),
    ):
        nearest(gallery, "b-4.jpg")


@pytest.mark.parametrize("name", ["vectors-1.f32", "keys-1.i64"])
def test_a_link_in_the_place_of_vectors_is_not_followed(
    folder: Path, deed: Callable[[Gallery], object], name: str
) -> None:
    (folder / name).unlink()
    (folder / name).symlink_to("../precious.f32")
    with closing(open_gallery(folder, create=False)) as gallery:
        assert any(f"{name} is damaged" in fault for fault in gallery.check())
        with pytest.raises(GalleryError, match="is damaged"):
            deed(gallery)
    require_untouched(folder.parent)


@pytest.mark.parametrize("name", ["vectors-2.f32", "keys-2.i64", "index-1-80-ExactIndex.tmp"])
def test_a_link_in_the_place_of_a_file_to_be_written_is_not_followed(
    folder: Path, deed: Callable[[Gallery], object], name: str
) -> None:
    with closing(open_gallery(folder, create=False)) as gallery:
        (folder / name).symlink_to("../precious.f32")
        deed(gallery)
    require_untouched(folder.parent)


def test_a_link_in_the_place_of_an_index_is_not_followed(
    folder: Path, deed: Callable[[Gallery], object]
) -> None:
    (index,) = folder.glob("index-*")
    index.unlink()
    index.symlink_to("../precious.bin")
    with closing(open_gallery(folder, create=False)) as gallery:
        deed(gallery)
    require_untouched(folder.parent)
