"""The index of a gallery in a folder: when it is built and read, and that answers are the same."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, GalleryFilter, NewImage
from tests.adapters.gallery_changes import add, files_of, names_of, nearest, open_gallery
from tests.fakes.vector_index import FakeIndex
from tests.galleries import STAMP, entry, vectors_of

NUM_ROWS = 900


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with closing(open_gallery(tmp_path)) as opened:
        yield opened


class CountingIndex(ExactIndex):
    """Counts what is built and what is read."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self._told = told

    def build(self, gallery: Tensor) -> None:
        super().build(gallery)
        self._told.append(f"build {len(gallery)}")

    def load(self, path: str, *, gallery: Tensor) -> None:
        super().load(path, gallery=gallery)
        self._told.append(f"load {len(gallery)}")


def open_counting(folder: Path, told: list[str]) -> Gallery:
    return open_filesystem_gallery(
        folder, create=True, create_index=lambda: CountingIndex(told), index_from_rows=1
    )


def test_an_index_is_built_once_and_read_by_later_processes(tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(3):
        with closing(open_counting(tmp_path, told)) as gallery:
            if not told:
                add(gallery, names_of(100))
            assert nearest(gallery, "b-4.jpg") == "b-4.jpg"
            assert nearest(gallery, "c-5.jpg") == "c-5.jpg"
            assert gallery.recall == 1
    assert told == ["build 100", "load 100", "load 100"]


def test_few_more_images_are_searched_beside_the_index_and_many_are_indexed(
    tmp_path: Path,
) -> None:
    told: list[str] = []
    with closing(open_counting(tmp_path, told)) as gallery:
        add(gallery, names_of(100))
        nearest(gallery, "a")
        add(gallery, names_of(11, prefix="new"))
        assert nearest(gallery, "b-new10.jpg") == "b-new10.jpg"
        assert told == ["build 100"]
        add(gallery, ["a-last.jpg"])
        assert nearest(gallery, "a-last.jpg") == "a-last.jpg"
        assert told == ["build 100", "build 112"]
    (name,) = [name for name in files_of(tmp_path) if name.startswith("index")]
    assert name.startswith("index-1-112-CountingIndex-")


def test_compacting_indexes_all_rows(tmp_path: Path) -> None:
    told: list[str] = []
    with closing(open_counting(tmp_path, told)) as gallery:
        add(gallery, names_of(100))
        gallery.compact()
        add(gallery, ["a-last.jpg"])
        gallery.compact()
        gallery.compact()
    assert told == ["build 100", "build 101"]


def test_a_damaged_index_is_named_and_built_again(tmp_path: Path) -> None:
    told: list[str] = []
    with closing(open_counting(tmp_path, told)) as gallery:
        add(gallery, names_of(100))
        gallery.compact()
        (path,) = tmp_path.glob("index-1-100-CountingIndex-*.bin")
        path.write_bytes(b"x" * path.stat().st_size)
        assert f"{path.name} is damaged" in gallery.check()[0]
    with closing(open_counting(tmp_path, told)) as gallery:
        assert nearest(gallery, "b-4.jpg") == "b-4.jpg"
        assert gallery.check() == ()
        path.unlink(missing_ok=True)
    with closing(open_counting(tmp_path, told)) as gallery:
        assert nearest(gallery, "b-4.jpg") == "b-4.jpg"
        assert gallery.check() == ()
    assert told[:2] == ["build 100", "build 100"]


def test_a_small_index_is_not_kept_on_the_disk(tmp_path: Path) -> None:
    with closing(
        open_filesystem_gallery(tmp_path, create=True, create_index=ExactIndex)
    ) as gallery:
        add(gallery, names_of(30))
        assert nearest(gallery, "b-4.jpg") == "b-4.jpg"
        gallery.compact()
        assert not any(name.startswith("index") for name in files_of(tmp_path))


def images_of_many(num_images: int, *, source: str = "here") -> list[NewImage]:
    return [
        NewImage(
            name=f"{number}.jpg",
            source=source,
            content=f"digest-{number}",
            label=f"person {number % 50}",
            camera=None if number % 7 == 6 else str(number % 7),
        )
        for number in range(num_images)
    ]


@pytest.mark.parametrize("k", [1, 3, 40, 2000])
@pytest.mark.parametrize(
    "within",
    [
        GalleryFilter(),
        GalleryFilter(without_cameras=frozenset("1")),
        GalleryFilter(cameras=frozenset("23")),
        GalleryFilter(labels=frozenset({"person 7"})),
    ],
)
def test_holes_and_rows_beside_the_index_change_no_answer(
    tmp_path: Path, k: int, within: GalleryFilter
) -> None:
    kept = open_gallery(tmp_path)
    memory = open_memory_gallery(create_index=ExactIndex)
    with closing(kept):
        for gallery in (kept, memory):
            keys = gallery.add(
                images_of_many(NUM_ROWS), vectors_of(NUM_ROWS), fingerprint=STAMP, entry=entry()
            )
            gallery.search(vectors_of(1), 1)
            gallery.add(
                images_of_many(60, source="there"),
                vectors_of(60, seed=1),
                fingerprint=STAMP,
                entry=entry(),
            )
            gallery.remove(keys[100:200], entry=entry(AuditAction.REMOVE))
        for queries in (vectors_of(1, seed=2), vectors_of(9, seed=3), vectors_of(0)):
            found = kept.search(queries, k, within=within)
            expected = memory.search(queries, k, within=within)
            assert torch.equal(found.indices, expected.indices)
            assert torch.allclose(found.distances, expected.distances, atol=1e-6)


def test_equal_vectors_tie_by_key_within_and_beside_the_index(gallery: Gallery) -> None:
    vectors = vectors_of(NUM_ROWS)
    first = gallery.add(images_of_many(NUM_ROWS), vectors, fingerprint=STAMP, entry=entry())
    gallery.search(vectors[:1], 1)
    second = gallery.add(
        images_of_many(50, source="there"), vectors[:50], fingerprint=STAMP, entry=entry()
    )
    for queries in (vectors[:50], vectors_of(50, seed=4)):
        found = gallery.search(queries, 20)
        for answers in found.indices.tolist():
            for early, late in zip(first[:50], second, strict=True):
                if late in answers:
                    assert answers.index(early) == answers.index(late) - 1


def test_what_a_forgetful_index_misses_beside_holes_is_compared_exactly(tmp_path: Path) -> None:
    with closing(
        open_filesystem_gallery(
            tmp_path,
            create=True,
            create_index=lambda: FakeIndex(is_exact=False, recall=0.9, num_found=4),
        )
    ) as gallery:
        vectors = vectors_of(NUM_ROWS)
        keys = gallery.add(images_of_many(NUM_ROWS), vectors, fingerprint=STAMP, entry=entry())
        assert not gallery.is_exact
        assert gallery.recall == 0.9
        assert (gallery.search(vectors[:5], 6).indices[:, 4:] == -1).all()
        gallery.remove(keys[:4], entry=entry(AuditAction.REMOVE))
        found = gallery.search(vectors[:5], 6)
        assert (found.indices >= 0).all()
        expected = (1 - vectors[:5] @ vectors[4:].T).topk(6, largest=False)
        assert torch.equal(found.indices, torch.tensor(keys)[4:][expected.indices])


def test_blocks_of_a_long_scan_give_the_answers_of_one(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery.add(images_of_many(NUM_ROWS), vectors_of(NUM_ROWS), fingerprint=STAMP, entry=entry())
    within = GalleryFilter(cameras=frozenset("123"))
    expected = gallery.search(vectors_of(9, seed=3), 40, within=within)
    monkeypatch.setattr("reid.adapters.galleries.rows._ENTRIES_PER_BLOCK", 700)
    found = gallery.search(vectors_of(9, seed=3), 40, within=within)
    assert torch.equal(found.indices, expected.indices)
    assert torch.allclose(found.distances, expected.distances, atol=1e-6)
