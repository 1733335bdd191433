"""A gallery folder of somebody else: no file outside it is opened for writing or deleted."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

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


def change(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        connection.execute(statement, values)
        connection.commit()


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


STATEMENTS = {
    "index file above": "UPDATE indexes SET file = '../precious.txt'",
    "index file of an absolute path": "UPDATE indexes SET file = '/tmp/precious.txt'",
    "index file with a way out": "UPDATE indexes SET file = 'index-1-40-x/../../precious.bin'",
    "index kind": "UPDATE indexes SET kind = '../../precious'",
    "index rows": "UPDATE indexes SET num_rows = '../../precious'",
    "generation": "UPDATE state SET generation = 'x/../../precious'",
    "rows": "UPDATE state SET num_rows = 'x/../../precious'",
}


@pytest.mark.parametrize("statement", list(STATEMENTS.values()), ids=list(STATEMENTS))
def test_a_name_in_the_database_leads_to_no_file_outside(
    folder: Path, deed: Callable[[Gallery], object], statement: str
) -> None:
    (folder / "vectors-x").mkdir()
    (folder / "index-1-40-x").mkdir()
    change(folder, statement)
    with closing(open_gallery(folder, create=False)) as gallery:
        assert any("is damaged" in fault for fault in gallery.check())
        with suppress(GalleryError):  # not every deed has to do with every file
            deed(gallery)
    require_untouched(folder.parent)


@pytest.mark.parametrize("statement", list(STATEMENTS.values()), ids=list(STATEMENTS))
def test_a_search_in_a_gallery_with_a_foreign_name_says_that_it_is_damaged(
    folder: Path, statement: str
) -> None:
    change(folder, statement)
    with (
        closing(open_gallery(folder, create=False)) as gallery,
        pytest.raises(GalleryError, match=f"{folder} is damaged"),
    ):
        nearest(gallery, "b-4.jpg")


def test_a_link_in_the_place_of_vectors_is_not_followed(
    folder: Path, deed: Callable[[Gallery], object]
) -> None:
    (folder / "vectors-1.f32").unlink()
    (folder / "vectors-1.f32").symlink_to("../precious.f32")
    with closing(open_gallery(folder, create=False)) as gallery:
        assert any("vectors-1.f32 is damaged" in fault for fault in gallery.check())
        with pytest.raises(GalleryError, match="is damaged"):
            deed(gallery)
    require_untouched(folder.parent)


@pytest.mark.parametrize("name", ["vectors-2.f32", "index-1-80-ExactIndex.tmp"])
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
        assert any("is missing" in fault for fault in gallery.check())
        deed(gallery)
    require_untouched(folder.parent)
