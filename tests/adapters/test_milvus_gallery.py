"""What is peculiar to a gallery whose vectors are in Milvus."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pymilvus import DataType, MilvusClient

from reid.adapters.galleries.milvus import collections
from reid.adapters.galleries.milvus import gallery as milvus
from reid.adapters.galleries.milvus.gallery import open_milvus_gallery
from reid.adapters.galleries.postgres.gallery import open_postgres_records
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.identifier import SEARCHED_FIRST, Identifier
from reid.domain.services.queries import queries_of
from reid.domain.values.galleries import AuditAction
from reid.domain.values.samples import ListedImage
from reid.ports.gallery_records import GalleryRecords
from tests.galleries import STAMP, enroll, entry, new_images, vectors_of
from tests.milvus import lite_address
from tests.postgres import server_address, unused_name

Open = Callable[..., Gallery]


class CountingClient(MilvusClient):  # type: ignore[misc]  # pymilvus has no types
    """Counts the rows that queries gave."""

    num_rows = 0

    def query(self, collection_name: str, *args: Any, **kwargs: Any) -> Any:
        rows = list(super().query(collection_name, *args, **kwargs))
        CountingClient.num_rows += len(rows)
        return rows


class CompactingClient(MilvusClient):  # type: ignore[misc]  # pymilvus has no types
    """Remembers which collections it was asked to compact."""

    compacted: ClassVar[list[str]] = []

    def compact(self, collection_name: str, *args: Any, **kwargs: Any) -> Any:
        CompactingClient.compacted.append(collection_name)
        return super().compact(collection_name, *args, **kwargs)


@pytest.fixture
def open_gallery(tmp_path: Path) -> Iterator[Open]:
    address, opened = lite_address(tmp_path), []

    def open_it(**options: Any) -> Gallery:
        opened.append(open_milvus_gallery(address, index="FLAT", **options))
        return opened[-1]

    yield open_it
    for gallery in opened:
        gallery.close()


def test_more_answers_than_milvus_gives_are_refused_by_the_setting_to_lower(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus, "_MOST_ANSWERS", 4)
    gallery = open_gallery()
    enroll(gallery, 5)
    assert gallery.search(vectors_of(1), 4).indices.shape == (1, 4)
    with pytest.raises(GalleryError, match=r"at most 4 answers, not 5: .* \(identify\.top_k\)"):
        gallery.search(vectors_of(1), 9)


def test_a_query_reads_no_more_rows_than_answer_it(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "MilvusClient", CountingClient)
    gallery = open_gallery()
    enroll(gallery, 600)
    CountingClient.num_rows = 0
    assert gallery.describe().num_images == 600
    assert len(gallery.images(labels=["a"])) == 200
    people = Identifier(gallery, IdentificationOptions())
    people.identify(queries_of([ListedImage(name="q.jpg", label=None)]), vectors_of(1, seed=5))
    assert CountingClient.num_rows <= SEARCHED_FIRST


# The Lite form opens its file twice where two threads' first rows meet, and drops one unclosed.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io.FileIO .*/wal/wal_:pytest.PytestUnraisableExceptionWarning"
)
def test_two_writers_take_turns_and_lose_nothing(open_gallery: Open) -> None:
    galleries = [open_gallery(), open_gallery()]

    def write(number: int) -> Sequence[tuple[int, ...]]:
        return [
            galleries[number].add(
                new_images(3, source=f"{number}-{part}"),
                vectors_of(3, seed=10 * number + part),
                fingerprint=STAMP,
                entry=entry(count=3),
            )
            for part in range(6)
        ]

    with ThreadPoolExecutor(2) as both:
        given = [keys for parts in both.map(write, range(2)) for part in parts for keys in part]
    assert len(set(given)) == 36
    reader = open_gallery()
    assert [image.key for image in reader.images()] == sorted(given)
    assert len(reader.audit()) == 12
    assert reader.describe().version == 12
    assert reader.check() == ()


def test_a_second_writer_waits_and_is_then_refused(open_gallery: Open) -> None:
    first, second = open_gallery(), open_gallery(wait_seconds=0.2)
    enroll(first)
    with first._records.writing(), pytest.raises(GalleryError, match="being changed by"):
        second.note(entry())
    assert len(second.audit()) == 1
    second.note(entry(day=2))
    assert len(first.audit()) == 2


def test_readers_do_not_wait_for_a_writer(open_gallery: Open) -> None:
    first, second = open_gallery(), open_gallery(wait_seconds=0)
    keys = enroll(first)
    with first._records.writing():
        assert second.search(vectors_of(1), 1).indices.tolist() == [[keys[0]]]
        assert second.describe().num_images == 12


def test_galleries_of_one_name_with_other_records_leave_each_other_s_vectors_alone(
    open_gallery: Open,
) -> None:
    def open_records() -> GalleryRecords:
        return open_postgres_records(server_address(), kind="milvus", name=name, create=True)

    name = unused_name()
    one, other = open_gallery(name=name), open_gallery(name=name, open_records=open_records)
    for gallery in (one, other):
        enroll(gallery)
    other.erase([1], entry=entry(AuditAction.FORGET))
    assert one.check() == other.check() == ()
    assert (one.describe().num_images, other.describe().num_images) == (12, 11)


def test_a_cluster_without_records_is_refused() -> None:
    with pytest.raises(GalleryError, match=r"gallery\.postgres\.address: must be set"):
        open_milvus_gallery("http://127.0.0.1:1")


def test_a_collection_that_was_made_by_half_is_made_anew(open_gallery: Open) -> None:
    gallery = open_gallery()
    with gallery._records.reading() as now:
        collection = now.state().vectors
    vectors_kept: Any = gallery._vectors
    with vectors_kept._collections.client() as client:
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=3)
        client.create_collection(collection, schema=schema)
    assert len(enroll(gallery)) == 12
    assert gallery.check() == ()


def test_vectors_that_are_missing_are_found(open_gallery: Open) -> None:
    gallery = open_gallery()
    enroll(gallery)
    with gallery._records.reading() as now:
        gallery._vectors.drop(now.state().vectors, [5])
    (fault,) = gallery.check()
    assert "image 5 has no vector" in fault


def test_an_erasure_whose_traces_must_stay_for_now_says_so(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = open_gallery()
    keys = enroll(gallery)

    def refuse(_: str, **_options: bool) -> None:
        raise GalleryError("rate limit exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(gallery._vectors, "reclaim", refuse)
        with pytest.raises(GalleryError, match=r"rate limit.*images are removed, but traces"):
            gallery.erase(keys[:3], entry=entry(AuditAction.FORGET))
    assert len(gallery.images()) == 9
    gallery.compact()
    with gallery._records.reading() as now:
        assert not now.state().is_erasing


def test_compacting_reaches_milvus_though_nothing_was_asked_or_removed_before(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "MilvusClient", CompactingClient)
    with closing(open_gallery()) as before:
        enroll(before)
    CompactingClient.compacted.clear()
    gallery = open_gallery()
    gallery.compact()
    with gallery._records.reading() as now:
        assert CompactingClient.compacted == [now.state().vectors]


def test_a_file_that_another_process_has_open_is_refused_in_words(tmp_path: Path) -> None:
    address = lite_address(tmp_path)
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import open_milvus_gallery\n"
        "from reid.domain.errors import GalleryError\n"
        "try:\n"
        "    open_milvus_gallery(sys.argv[1])\n"
        "except GalleryError as error:\n"
        "    print(error)\n"
    )
    with closing(open_milvus_gallery(address)):
        told = subprocess.run(
            [sys.executable, "-c", program, address], capture_output=True, text=True, check=True
        )
    assert "one process at a time" in told.stdout
    assert "Traceback" not in told.stderr


def test_a_file_that_another_process_filled_is_read_and_changed(
    open_gallery: Open, tmp_path: Path
) -> None:
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import open_milvus_gallery\n"
        "from tests.galleries import enroll\n"
        "enroll(open_milvus_gallery(sys.argv[1], index='FLAT'))\n"
    )
    subprocess.run([sys.executable, "-c", program, lite_address(tmp_path)], check=True)
    gallery = open_gallery()
    assert gallery.search(vectors_of(1), 1).indices.tolist() == [[1]]
    gallery.note(entry(day=2))
    assert len(gallery.audit()) == 2


@pytest.mark.parametrize("index", ["FLAT", "HNSW"])
def test_half_an_index_that_a_killed_process_left_is_made_anew(index: str, tmp_path: Path) -> None:
    address = lite_address(tmp_path)
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import open_milvus_gallery\n"
        "from tests.galleries import enroll\n"
        "enroll(open_milvus_gallery(sys.argv[1], index=sys.argv[2]))\n"
    )
    subprocess.run([sys.executable, "-c", program, address, index], check=True)
    left = [*tmp_path.rglob("*.idx")]
    for file in left:
        file.write_bytes(file.read_bytes()[:10])
    with closing(open_milvus_gallery(address, index=index)) as gallery:
        assert left
        assert gallery.search(vectors_of(12), 1).indices.flatten().tolist() == [*range(1, 13)]
        assert gallery.check() == ()


def test_what_milvus_refuses_is_said_in_words_alone(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import open_milvus_gallery\n"
        "from reid.domain.errors import GalleryError\n"
        "collections = open_milvus_gallery(sys.argv[1])._vectors._collections\n"
        "try:\n"
        "    collections.create('known', 8)\n"
        "    collections.query('known', 'no condition', ())\n"
        "except GalleryError as error:\n"
        "    print(error)\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, lite_address(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "the gallery gallery in Milvus: " in told.stdout
    assert "Traceback" not in told.stderr
