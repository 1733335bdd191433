import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reid.adapters.galleries.cache import GalleryCache
from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import GalleryError
from tests.galleries import enroll


def cache_in(folder: Path, *, names: str = "") -> GalleryCache:
    for name in names:
        place = folder / (32 * name)
        with closing(
            open_filesystem_gallery(place, create=True, create_index=ExactIndex)
        ) as gallery:
            enroll(gallery)
    return GalleryCache(folder, create_index=ExactIndex)


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    cache = cache_in(tmp_path / "none")
    assert cache.list().galleries == cache.clear().galleries == ()
    assert not (tmp_path / "none").exists()


def test_what_is_kept_is_listed_with_its_source_and_size(tmp_path: Path) -> None:
    content = cache_in(tmp_path, names="ab").list()
    assert {Path(kept.place).name for kept in content.galleries} == {32 * "a", 32 * "b"}
    for kept in content.galleries:
        assert (kept.sources, kept.num_images) == (("here",), 12)
        sizes = [path.stat().st_size for path in Path(kept.place).iterdir()]
        assert kept.num_bytes == sum(sizes)
    assert content.num_bytes == sum(kept.num_bytes for kept in content.galleries)


def test_clearing_deletes_galleries_damaged_ones_too_and_nothing_else(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, names="abc")
    (tmp_path / (32 * "b") / "gallery.sqlite").write_bytes(b"none")
    (tmp_path / (32 * "d")).mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "gallery.sqlite").write_bytes(b"mine")
    (tmp_path / "notes.txt").write_text("mine")
    deleted = cache.clear().galleries
    assert sorted(kept.num_images or 0 for kept in deleted) == [0, 12, 12]
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "images", 32 * "d"}
    assert (tmp_path / "images" / "gallery.sqlite").read_bytes() == b"mine"
    assert cache.list().galleries == ()


def test_what_an_interrupted_clearing_left_is_cleared_by_the_next(tmp_path: Path) -> None:
    cache = cache_in(tmp_path, names="ab")
    (tmp_path / (32 * "a") / "gallery.sqlite").unlink()
    (left,) = (kept for kept in cache.list().galleries if kept.num_images is None)
    sizes = [path.stat().st_size for path in (tmp_path / (32 * "a")).iterdir()]
    assert left.num_bytes == sum(sizes)
    assert len(cache.clear().galleries) == 2
    assert list(tmp_path.iterdir()) == []


def test_files_that_vanish_while_they_are_listed_or_cleared_are_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_in(tmp_path, names="a")
    (tmp_path / (32 * "a") / "vanished").symlink_to("nowhere")
    assert len(cache.list().galleries) == 1
    delete = os.unlink

    def delete_twice(path: str, **options: Any) -> None:
        delete(path, **options)
        delete(path, **options)

    monkeypatch.setattr("os.unlink", delete_twice)
    assert len(cache.clear().galleries) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path, **_options: object) -> None:
        raise PermissionError(13, "Permission denied", str(tmp_path))

    cache = cache_in(tmp_path, names="a")
    monkeypatch.setattr("shutil.rmtree", refuse)
    with pytest.raises(GalleryError, match=r"cannot be read or cleared .*Permission denied"):
        cache.clear()
    assert len(cache.list().galleries) == 1
