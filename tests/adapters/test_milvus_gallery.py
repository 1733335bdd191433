"""What is peculiar to a gallery in Milvus: how its log is read, and who may write it."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from reid.adapters.galleries.milvus import gallery as milvus_gallery
from reid.adapters.galleries.milvus import log, tables
from reid.adapters.galleries.milvus.gallery import MilvusGallery
from reid.domain.errors import GalleryError
from reid.domain.services.identifier import SEARCHED_FIRST, Identifier
from reid.domain.services.queries import single_queries
from reid.domain.values.galleries import AuditAction
from reid.domain.values.open_set import FusionRecipe
from reid.domain.values.samples import ListedImage
from tests.galleries import STAMP, enroll, entry, new_images, vectors_of
from tests.milvus import lite_address

Open = Callable[..., MilvusGallery]


class CountingClient(MilvusClient):  # type: ignore[misc]  # pymilvus has no types
    """Counts the rows that queries gave, of the log if nothing else is said."""

    num_rows = 0
    num_images = 0
    """Likewise of the images."""

    def query(self, collection_name: str, *args: Any, **kwargs: Any) -> Any:
        rows = list(super().query(collection_name, *args, **kwargs))
        if collection_name.endswith("_log"):
            CountingClient.num_rows += len(rows)
        else:
            CountingClient.num_images += len(rows)
        return rows


@pytest.fixture
def open_gallery(tmp_path: Path) -> Iterator[Open]:
    address, opened = lite_address(tmp_path), []

    def open_it(**options: float) -> MilvusGallery:
        opened.append(MilvusGallery(address, index="FLAT", **options))  # type: ignore[arg-type]
        return opened[-1]

    yield open_it
    for gallery in opened:
        gallery.close()


def write_changes(gallery: MilvusGallery, count: int) -> None:
    """Write rows of the log as `note` does, many at once."""
    last = gallery._log.newest()
    for start in range(0, count, 500):
        rows = [
            log._row(
                last.number + 1 + number,
                {
                    "state": {
                        **{name: getattr(last, name) for name in last.__slots__},
                        "gone": [],
                        "version": last.version + 1 + number,
                    },
                    "entry": None,
                },
            )
            for number in range(start, min(start + 500, count))
        ]
        with gallery._collections.client() as client:
            client.insert(gallery._collections.log, rows)


def rows_read_to_open(open_gallery: Open) -> int:
    CountingClient.num_rows = 0
    open_gallery().images(keys=[1])
    return CountingClient.num_rows


def test_opening_reads_as_little_of_a_long_log_as_of_a_short_one(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MilvusClient", CountingClient)
    gallery = open_gallery()
    write_changes(gallery, 20)
    assert rows_read_to_open(open_gallery) <= 40
    write_changes(gallery, 3000)
    assert rows_read_to_open(open_gallery) <= 60


def test_more_answers_than_milvus_gives_are_refused_by_the_option_to_lower(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_gallery, "_MOST_ANSWERS", 4)
    gallery = open_gallery()
    enroll(gallery, 5)
    assert gallery.search(vectors_of(1), 4).indices.shape == (1, 4)
    with pytest.raises(GalleryError, match=r"at most 4 answers, not 5: .* \(--top-k\)"):
        gallery.search(vectors_of(1), 9)


def test_a_question_reads_no_more_images_than_answer_it(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MilvusClient", CountingClient)
    gallery = open_gallery()
    enroll(gallery, 600)
    CountingClient.num_images = 0
    assert gallery.describe().num_images == 600
    assert CountingClient.num_images == 0
    people = Identifier(gallery, recipe=FusionRecipe(), top_k=1)
    people.identify(single_queries([ListedImage(name="q.jpg", label=None)]), vectors_of(1, seed=5))
    assert CountingClient.num_images <= SEARCHED_FIRST


@pytest.mark.parametrize("num_changes", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 100, 1000, 1025])
def test_the_newest_change_is_found_in_a_log_of_any_length(
    open_gallery: Open, num_changes: int
) -> None:
    gallery = open_gallery()
    write_changes(gallery, num_changes)
    assert open_gallery()._log.newest().number == num_changes


@pytest.mark.parametrize("num_more", [1, 8, 40])
def test_a_reader_that_was_away_finds_the_newest_change(open_gallery: Open, num_more: int) -> None:
    writer, reader = open_gallery(), open_gallery()
    write_changes(writer, 30)
    assert reader._log.newest().number == 30
    write_changes(writer, num_more)
    assert reader._log.newest().number == 30 + num_more


def test_a_long_audit_log_is_read_whole_and_in_order(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_ROWS_AT_ONCE", 4)
    gallery = open_gallery()
    told = [entry(AuditAction.EXPORT, day=day) for day in range(1, 14)]
    for one in told:
        gallery.note(one)
    assert gallery.audit() == tuple(told)


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


def test_a_second_writer_is_told_who_writes(open_gallery: Open) -> None:
    first, second = open_gallery(), open_gallery(wait_seconds=0.2)
    enroll(first)
    with first._log.writing(), pytest.raises(GalleryError, match=r"being changed by .*process \d"):
        second.note(entry())
    assert len(second.audit()) == 1
    second.note(entry(day=2))
    assert len(first.audit()) == 2


def test_readers_do_not_wait_for_a_writer(open_gallery: Open) -> None:
    first, second = open_gallery(), open_gallery(wait_seconds=0)
    keys = enroll(first)
    with first._log.writing():
        assert second.search(vectors_of(1), 1).indices.tolist() == [[keys[0]]]
        assert second.describe().num_images == 12


def test_an_erasure_whose_traces_must_stay_for_now_says_so(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = open_gallery()
    keys = enroll(gallery)

    def refuse() -> None:
        raise GalleryError("rate limit exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(gallery, "_reclaim", refuse)
        with pytest.raises(GalleryError, match=r"rate limit.*images are removed, but traces"):
            gallery.erase(keys[:3], entry=entry(AuditAction.FORGET))
    assert len(gallery.images()) == 9
    gallery.compact()


def test_the_claim_of_a_writer_that_died_runs_out(open_gallery: Open) -> None:
    dead, alive = open_gallery(), open_gallery(lease_seconds=0.5, wait_seconds=20)
    enroll(dead)
    dead._log._claim()
    alive.note(entry(day=2))
    assert alive._log._claims() == []


def test_a_claim_that_is_renewed_does_not_run_out(open_gallery: Open) -> None:
    first = open_gallery(lease_seconds=0.4)
    second = open_gallery(lease_seconds=0.4, wait_seconds=0)
    with first._log.writing() as lease:
        for _ in range(4):
            lease.since -= 0.2  # as if so much time had gone by
            first._log.hold(lease)
            with pytest.raises(GalleryError, match="being changed"):
                second.note(entry())
        assert lease.renewed == 4
        assert [claim["number"] for claim in second._log._claims()] == [lease.number]


def test_claims_in_a_file_of_processes_that_ended_do_not_delay(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, alive = open_gallery(), open_gallery(lease_seconds=600, wait_seconds=20)
    monkeypatch.setattr(log, "_SESSION", "another process")
    dead._log._claim()
    monkeypatch.undo()
    alive.note(entry())
    assert len(alive.audit()) == 1


def test_a_writer_that_was_away_for_longer_than_its_lease_changes_nothing(
    open_gallery: Open,
) -> None:
    gallery = open_gallery()
    enroll(gallery)
    before = gallery.describe()
    with gallery._log.writing() as lease:
        lease.since -= log.LEASE_SECONDS
        with pytest.raises(GalleryError, match="another writer may go on"):
            gallery._remove([1], entry=entry(AuditAction.REMOVE), lease=lease)
    assert open_gallery().describe() == before
    gallery.note(entry(day=2))


def test_two_rows_of_one_number_are_noticed(open_gallery: Open) -> None:
    first, second = open_gallery(), open_gallery()
    enroll(first)
    with first._log.writing() as lease:
        state = first._log.newest()
        # The other believes that the first is dead, though it was only away.
        second._log._withdraw(lease)
        real_rows = first._log._rows

        def rows_after_the_other(condition: str, **limits: int) -> list[dict[str, Any]]:
            second._log.commit(state, entry(day=3), lease=second._log._claim())
            return real_rows(condition, **limits)

        first._log._rows = rows_after_the_other  # type: ignore[method-assign]
        with pytest.raises(GalleryError, match=r"two writers at once.*gallery check"):
            first._log.commit(state, entry(day=2), lease=lease)


def test_a_file_that_another_process_has_open_is_refused_in_words(tmp_path: Path) -> None:
    address = lite_address(tmp_path)
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import MilvusGallery\n"
        "from reid.domain.errors import GalleryError\n"
        "try:\n"
        "    MilvusGallery(sys.argv[1])\n"
        "except GalleryError as error:\n"
        "    print(error)\n"
    )
    with closing(MilvusGallery(address)):
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
        "from reid.adapters.galleries.milvus.gallery import MilvusGallery\n"
        "from tests.galleries import enroll\n"
        "enroll(MilvusGallery(sys.argv[1], index='FLAT'))\n"
    )
    subprocess.run([sys.executable, "-c", program, lite_address(tmp_path)], check=True)
    gallery = open_gallery()
    assert gallery.search(vectors_of(1), 1).indices.tolist() == [[1]]
    gallery.note(entry(day=2))
    assert len(gallery.audit()) == 2


def test_what_milvus_refuses_is_said_in_words_alone(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from reid.adapters.galleries.milvus.gallery import MilvusGallery\n"
        "from reid.domain.errors import GalleryError\n"
        "collections = MilvusGallery(sys.argv[1])._collections\n"
        "try:\n"
        "    collections.query(collections.log, 'no condition', ())\n"
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
