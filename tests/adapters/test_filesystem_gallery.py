"""What is peculiar to a gallery in a folder: it outlives crashes, damage and company."""

import json
import os
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import Tensor

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.galleries.sqlite.records import SqliteRecords
from reid.adapters.galleries.sqlite.transaction import SqliteTransaction
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, EncoderFingerprint, NewImage
from tests.adapters.gallery_changes import (
    add,
    add_on_a_full_disk,
    change_by_pairs,
    change_for_ever,
    files_of,
    image_of,
    make_on_a_full_disk,
    names_of,
    nearest,
    open_gallery,
    read_pairs,
    read_without_rights,
    spawn,
    vector_of,
)
from tests.galleries import CALIBRATION, STAMP, entry, vectors_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "gallery"


@pytest.fixture
def gallery(folder: Path) -> Iterator[Gallery]:
    with closing(open_gallery(folder)) as opened:
        yield opened


def records_of(gallery: Gallery) -> SqliteRecords:
    assert isinstance(gallery._records, SqliteRecords)
    return gallery._records


def images_of(gallery: Gallery) -> list[str]:
    return [image.name for image in gallery.images()]


def test_what_was_kept_is_there_when_it_is_opened_again(folder: Path) -> None:
    with closing(open_gallery(folder)) as first:
        keys = add(first, names_of(20))
    with closing(open_gallery(folder, create=False)) as second:
        assert images_of(second) == names_of(20)
        assert second.describe().fingerprint == STAMP
        assert torch.equal(second.vectors(keys[3:4]), vector_of(names_of(20)[3]))
        assert second.check() == ()


def test_a_folder_without_a_gallery_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(GalleryError, match=f"{folder.name} holds no gallery.*build"):
            open_gallery(folder, create=False)
    assert files_of(tmp_path) == set()


def test_an_open_gallery_sees_what_others_have_changed(folder: Path, gallery: Gallery) -> None:
    add(gallery, names_of(5))
    with closing(open_gallery(folder)) as other:
        assert nearest(other, "a-new.jpg") != "a-new.jpg"
        (key,) = add(gallery, ["a-new.jpg"])
        assert nearest(other, "a-new.jpg") == "a-new.jpg"
        gallery.erase([key], entry=entry(AuditAction.FORGET))
        assert nearest(other, "a-new.jpg") != "a-new.jpg"
        assert other.describe() == gallery.describe()


def exchange(folder: Path, names: list[str]) -> None:
    """Put another gallery into the place of one that may be open."""
    shutil.rmtree(folder)
    with closing(open_gallery(folder)) as other:
        add(other, names)
        nearest(other, names[0])


def test_a_gallery_that_took_another_s_place_is_the_one_that_is_asked(
    folder: Path, gallery: Gallery
) -> None:
    add(gallery, names_of(20))
    assert nearest(gallery, "b-4.jpg") == "b-4.jpg"
    for prefix in ("new", "newer"):
        exchange(folder, names_of(20, prefix=prefix))
        (image,) = gallery.images(names=[f"b-{prefix}4.jpg"])
        assert torch.equal(gallery.vectors([image.key]), vector_of(image.name))
        assert nearest(gallery, f"c-{prefix}5.jpg") == f"c-{prefix}5.jpg"


def test_changes_reach_the_gallery_that_took_another_s_place_and_damage_nothing(
    folder: Path, gallery: Gallery
) -> None:
    add(gallery, names_of(20))
    nearest(gallery, "b-4.jpg")
    exchange(folder, names_of(30, prefix="new"))
    add(gallery, ["a-late.jpg"])
    gallery.erase([1, 2], entry=entry(AuditAction.FORGET))
    with closing(open_gallery(folder)) as other:
        assert images_of(other) == [*names_of(30, prefix="new")[2:], "a-late.jpg"]
        assert nearest(other, "a-late.jpg") == "a-late.jpg"
        assert other.check() == ()


def test_a_gallery_replaced_in_the_midst_of_a_call_is_left_alone(
    folder: Path, gallery: Gallery
) -> None:
    add(gallery, names_of(20))
    with gallery._records.reading() as now:
        exchange(folder, names_of(30, prefix="new"))
        with pytest.raises(GalleryError, match="moved, deleted or replaced"):
            now.require_in_place()
    assert len(gallery.images()) == 30


def test_a_gallery_that_was_moved_away_is_found_where_it_is(folder: Path, gallery: Gallery) -> None:
    add(gallery, names_of(20))
    nearest(gallery, "b-4.jpg")
    folder.rename(folder.with_name("elsewhere"))
    for ask in (gallery.describe, lambda: nearest(gallery, "b-4.jpg"), lambda: add(gallery, ["a"])):
        with pytest.raises(GalleryError, match="holds no gallery"):
            ask()
    with closing(open_gallery(folder.with_name("elsewhere"))) as moved:
        assert nearest(moved, "b-4.jpg") == "b-4.jpg"
        assert moved.check() == ()


def kill_at_random_moments(parent: Path, *, num_kills: int, seed: int) -> int:
    """Kill a process that changes a gallery; return how many changes were interrupted."""
    chance = random.Random(seed)
    num_interrupted = 0
    for number in range(num_kills):
        folder, log = parent / f"gallery-{number // 10}", parent / f"{number}.log"
        log.touch()
        process = spawn(change_for_ever, folder, log, 1000 * seed + number)
        if number % 10:
            while not log.read_text() and process.is_alive():
                time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.join()
        assert process.exitcode == -9
        whole_lines = log.read_text().rpartition("\n")[0]
        told = [json.loads(line) for line in whole_lines.splitlines()]
        with closing(open_gallery(folder)) as gallery:
            assert gallery.check() == ()
            names = images_of(gallery)
            if told:
                assert sorted(names) in (told[-1]["before"], told[-1]["after"])
                num_interrupted += told[-1]["before"] != told[-1]["after"]
            for image in gallery.images():
                assert torch.equal(gallery.vectors([image.key]), vector_of(image.name))
                assert gallery.thumbnail(image.key) == image.name.encode()
            for name in names[:3]:
                assert nearest(gallery, name) == name
            of_vectors = {file for file in files_of(folder) if file.startswith("vectors")}
            assert len(of_vectors) <= 1
            assert not any(file.endswith(".tmp") for file in files_of(folder))
    return num_interrupted


def test_a_killed_process_leaves_the_state_before_or_after_its_change(tmp_path: Path) -> None:
    assert kill_at_random_moments(tmp_path, num_kills=12, seed=1) > 0


@pytest.mark.slow
def test_a_hundred_killed_processes_leave_a_sound_gallery(tmp_path: Path) -> None:
    assert kill_at_random_moments(tmp_path, num_kills=100, seed=2) > 10


def test_two_readers_and_a_writer_do_not_disturb_each_other(folder: Path, tmp_path: Path) -> None:
    change_by_pairs(folder, 4)
    done = tmp_path / "done"
    readers = [spawn(read_pairs, folder, done) for _ in range(2)]
    writer = spawn(change_by_pairs, folder, 30)
    writer.join()
    done.touch()
    for process in (writer, *readers):
        process.join()
        assert process.exitcode == 0
    with closing(open_gallery(folder)) as gallery:
        assert gallery.check() == ()


def test_threads_share_a_gallery(gallery: Gallery) -> None:
    add(gallery, names_of(40))
    found: list[str] = []

    def search() -> None:
        found.extend(nearest(gallery, name) for name in names_of(40)[::4])

    threads = [Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        add(gallery, [f"c-more-{number}.jpg"])
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(4 * names_of(40)[::4])


def test_a_second_writer_waits_for_the_first(folder: Path, gallery: Gallery) -> None:
    add(gallery, names_of(5))
    with closing(open_gallery(folder)) as other:
        waiting = Thread(target=add, args=(other, ["a-late.jpg"]))
        with gallery._records.writing():
            waiting.start()
            waiting.join(0.2)
            assert waiting.is_alive()
        waiting.join()
    assert images_of(gallery)[-1] == "a-late.jpg"


def test_a_writer_who_has_waited_too_long_is_told_where(folder: Path, gallery: Gallery) -> None:
    hasty = open_filesystem_gallery(
        folder, create=False, create_index=ExactIndex, wait_seconds=0.05
    )
    with closing(hasty), gallery._records.writing():
        with pytest.raises(GalleryError, match=f"{folder} is being changed by another process"):
            add(hasty, names_of(1))
        assert hasty.describe().num_images == 0
    assert add(gallery, names_of(1))


def test_a_gallery_that_is_there_is_opened_for_writing_while_another_writes(
    folder: Path, gallery: Gallery
) -> None:
    with gallery._records.writing():
        hasty = open_filesystem_gallery(
            folder, create=True, create_index=ExactIndex, wait_seconds=0.05
        )
        with closing(hasty):
            assert hasty.describe().num_images == 0


def distinctive_images(num_images: int) -> list[NewImage]:
    """Images all of whose words are found nowhere else, long enough to fill many pages."""
    return [
        NewImage(
            name=f"image-of-{number:05d}-{'x' * (number * 37 % 90)}",
            source="here",
            content=f"digest-of-{number:05d}",
            label=f"label-of-{number * 7919 % num_images // 4:05d}",
            camera=f"camera-of-{number:05d}",
            thumbnail=f"jpeg-of-{number:05d}".encode() * (number % 40 + 1),
        )
        for number in range(num_images)
    ]


def traces_in(folder: Path, numbers: list[int], images: list[NewImage]) -> set[str]:
    """Look for words and vectors of images in every byte of every file."""
    vectors = vectors_of(len(images))
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = set()
    for number in numbers:
        image = images[number]
        traces = [
            *(text.encode() for text in (image.name, image.content, image.label)),
            f"camera-of-{number:05d}".encode(),
            f"jpeg-of-{number:05d}".encode(),
            vectors[number].numpy().tobytes()[:16],
            vectors[number].half().numpy().tobytes()[:12],
        ]
        found |= {name for name, data in content.items() for trace in traces if trace in data}
    return found


def fill_with_traces(gallery: Gallery, num_images: int = 600) -> list[NewImage]:
    images, vectors = distinctive_images(num_images), vectors_of(num_images)
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(3)).tolist()
    for start in range(0, num_images, 200):
        part = order[start : start + 200]
        gallery.add([images[i] for i in part], vectors[part], fingerprint=STAMP, entry=entry())
    gallery.search(vectors[:1], 3)
    return images


def erased_numbers(images: list[NewImage]) -> list[int]:
    """All images of every third person."""
    return [i for i, image in enumerate(images) if int(image.label[-5:]) % 3 == 0]


def keys_of(gallery: Gallery, numbers: list[int]) -> list[int]:
    wanted = {f"digest-of-{number:05d}" for number in numbers}
    return [image.key for image in gallery.images() if image.content in wanted]


def test_no_byte_of_an_erased_image_stays_in_any_file(folder: Path, gallery: Gallery) -> None:
    images = fill_with_traces(gallery)
    gone = erased_numbers(images)
    assert traces_in(folder, gone, images) >= {"gallery.sqlite-wal", "vectors-1.f32"}
    assert gallery.erase(keys_of(gallery, gone), entry=entry(AuditAction.FORGET)) == len(gone)
    assert traces_in(folder, gone, images) == set()
    left = sorted(set(range(600)) - set(gone))
    assert traces_in(folder, left[:1], images) >= {"gallery.sqlite", "vectors-2.f32"}
    gallery.search(vectors_of(1), 3)
    assert any(name.startswith("index-2-") for name in files_of(folder))
    assert traces_in(folder, gone, images) == set()
    assert gallery.check() == ()


def test_compacting_takes_the_traces_of_removed_images_away(folder: Path, gallery: Gallery) -> None:
    images = fill_with_traces(gallery)
    gone = erased_numbers(images)
    gallery.remove(keys_of(gallery, gone), entry=entry(AuditAction.REMOVE))
    assert traces_in(folder, gone, images)
    gallery.compact()
    assert traces_in(folder, gone, images) == set()


def test_an_interrupted_erasure_is_finished_by_whoever_opens_the_gallery_next(
    folder: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = fill_with_traces(gallery)
    gone = erased_numbers(images)

    def die(_: SqliteRecords, **_options: bool) -> None:
        raise KeyboardInterrupt

    gone_keys = keys_of(gallery, gone)
    with monkeypatch.context() as patch:
        patch.setattr(SqliteRecords, "reclaim", die)
        with pytest.raises(KeyboardInterrupt):
            gallery.erase(gone_keys, entry=entry(AuditAction.FORGET))
    assert traces_in(folder, gone, images)
    with closing(open_gallery(folder)) as other:
        assert other.describe().num_images == 600 - len(gone)
        assert traces_in(folder, gone, images) == set()


def test_an_erasure_that_a_reader_delays_says_so(folder: Path, gallery: Gallery) -> None:
    (key, *_) = add(gallery, names_of(5))
    hasty = open_filesystem_gallery(
        folder, create=False, create_index=ExactIndex, wait_seconds=0.05
    )
    with closing(hasty):
        with (
            gallery._states.current(),
            pytest.raises(GalleryError, match=r"still reads.*are removed"),
        ):
            hasty.erase([key], entry=entry(AuditAction.FORGET))
        hasty.compact()
    assert images_of(gallery) == names_of(5)[1:]
    assert len([name for name in files_of(folder) if name.startswith("vectors")]) == 1


def test_an_erasure_that_finds_no_room_to_clear_traces_says_that_images_are_removed(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    (key, *_) = add(gallery, names_of(5))

    def find_no_room(_: SqliteRecords, **_options: bool) -> None:
        raise GalleryError("database or disk is full")

    monkeypatch.setattr(SqliteRecords, "reclaim", find_no_room)
    with pytest.raises(GalleryError, match=r"disk is full; the images are removed.*compact"):
        gallery.erase([key], entry=entry(AuditAction.FORGET))
    assert images_of(gallery) == names_of(5)[1:]


def test_a_hollow_file_of_vectors_is_written_anew(folder: Path) -> None:
    with closing(open_gallery(folder)) as gallery:
        images = [image_of(name) for name in names_of(1500)]
        keys = gallery.add(images, vectors_of(1500), fingerprint=STAMP, entry=entry())
        gallery.remove(keys[:1200], entry=entry(AuditAction.REMOVE))
        assert (folder / "vectors-2.f32").stat().st_size == 300 * 16 * 4
        assert torch.equal(gallery.vectors(keys[1400:1401]), vectors_of(1500)[1400:1401])


@pytest.mark.parametrize("num_looks", [1, 2, 3])
def test_a_file_of_vectors_that_goes_while_it_is_opened_is_an_error_in_words_at_most(
    folder: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, num_looks: int
) -> None:
    (key, *_) = add(gallery, names_of(20))
    path, stat, looks = folder / "vectors-1.f32", Path.stat, list[Path]()

    def stat_before_it_goes(self: Path, **options: bool) -> os.stat_result:
        found = stat(self, **options)
        if self == path:
            looks.append(self)
        if len(looks) == num_looks:
            path.unlink(missing_ok=True)
        return found

    monkeypatch.setattr(Path, "stat", stat_before_it_goes)
    with suppress(GalleryError):
        assert torch.equal(gallery.vectors([key]), vector_of(names_of(20)[0]))
    assert looks


@pytest.mark.parametrize("row", [0, 7, 19])
def test_a_flipped_bit_of_a_vector_is_found_and_named(
    folder: Path, gallery: Gallery, row: int
) -> None:
    add(gallery, names_of(20))
    with (folder / "vectors-1.f32").open("r+b") as file:
        file.seek(row * 64 + 13)
        (byte,) = file.read(1)
        file.seek(row * 64 + 13)
        file.write(bytes([byte ^ 4]))
    (fault,) = gallery.check()
    assert names_of(20)[row] in fault
    assert "is damaged" in fault


def test_files_that_others_replace_during_a_check_are_not_missing(
    folder: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(gallery, names_of(20))
    nearest(gallery, "b-4.jpg")
    find, told = SqliteTransaction.faults, list[str]()

    def find_beside_another(reader: SqliteTransaction) -> Iterator[str]:
        yield from find(reader)
        if not told:
            with closing(open_gallery(folder)) as other:
                add(other, names_of(9, prefix="new"))
                told.append(nearest(other, "b-new4.jpg"))  # builds another index
                other.compact()
                other.erase([1], entry=entry(AuditAction.FORGET))

    monkeypatch.setattr(SqliteTransaction, "faults", find_beside_another)
    monkeypatch.setattr(SqliteRecords, "reclaim", lambda *_, **__: None)  # waits for the reader
    assert gallery.check() == ()
    assert told == ["b-new4.jpg"]


def test_a_changed_record_is_found_and_named(folder: Path, gallery: Gallery) -> None:
    add(gallery, names_of(20))
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        connection.execute("UPDATE images SET camera = 'other' WHERE key = 5")
        connection.execute("UPDATE thumbnails SET jpeg = x'00' WHERE key = 9")
        connection.execute("INSERT INTO thumbnails VALUES (99, x'00')")
        connection.commit()
    orphan, record, thumbnail = gallery.check()
    assert "99" in orphan
    assert names_of(20)[4] in record
    assert names_of(20)[8] in thumbnail


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE state SET num_images = 18",
        "UPDATE state SET vectors = '1-19-16'",
        "UPDATE state SET calibrations = replace(calibrations, '0.5', '0.4')",
        "UPDATE state SET calibrations = substr(calibrations, 1, 30)",
        "UPDATE state SET fingerprint = substr(fingerprint, 1, 30)",
        "UPDATE state SET version = 'x'",
        "DELETE FROM state",
    ],
)
def test_a_changed_state_is_noticed_by_whoever_asks(
    folder: Path, gallery: Gallery, statement: str
) -> None:
    add(gallery, names_of(20))
    gallery.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE))
    change_by_hand(folder, statement)
    (fault,) = gallery.check()
    assert f"{folder} is damaged" in fault
    for ask in (gallery.describe, lambda: nearest(gallery, "b-4.jpg"), lambda: add(gallery, ["a"])):
        with pytest.raises(GalleryError, match="is damaged"):
            ask()


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("UPDATE audit SET subject = 'nothing' WHERE number = 1", "line 1 of the audit log"),
        ("UPDATE audit SET action = 'buhld'", "line 1 of the audit log"),
        ("UPDATE images SET label = x'ff' WHERE key = 3", "label of image 3"),
        ("UPDATE images SET label = cast(x'ff' AS TEXT) WHERE key = 3", "is damaged"),
        ("UPDATE images SET key = 99 WHERE key = 3", "99"),
        ("DELETE FROM images WHERE key = 3", "19 images are recorded, 20 were counted"),
    ],
)
def test_a_line_that_this_program_never_writes_is_found(
    folder: Path, gallery: Gallery, statement: str, complaint: str
) -> None:
    add(gallery, names_of(20))
    change_by_hand(folder, statement)
    assert any(complaint in fault for fault in gallery.check())


def change_by_hand(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_truncated_or_missing_file_of_vectors_is_found_and_named(
    folder: Path, gallery: Gallery
) -> None:
    add(gallery, names_of(20))
    path = folder / "vectors-1.f32"
    path.write_bytes(path.read_bytes()[:-1])
    assert any("vectors-1.f32 is damaged" in fault for fault in gallery.check())
    with closing(open_gallery(folder)) as other:
        with pytest.raises(GalleryError, match=r"vectors-1\.f32 is damaged"):
            other.search(vector_of("a"), 1)
        with pytest.raises(GalleryError, match=r"vectors-1\.f32 is damaged"):
            add(other, ["a-new.jpg"])
        path.unlink()
        assert "vectors-1.f32 is missing" in other.check()[0]
        with pytest.raises(GalleryError, match=r"vectors-1\.f32 is missing"):
            other.search(vector_of("a"), 1)


def test_faults_found_before_unreadable_vectors_are_named_too(
    folder: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(gallery, names_of(20))
    path = folder / "vectors-1.f32"
    path.write_bytes(path.read_bytes()[:-1])
    monkeypatch.setattr(SqliteTransaction, "faults", lambda _: iter(["a record is damaged"]))
    first, second = gallery.check()
    assert first == "a record is damaged"
    assert "vectors-1.f32 is damaged" in second


def test_a_search_among_damaged_vectors_tells_how_to_find_them(
    folder: Path, gallery: Gallery
) -> None:
    add(gallery, names_of(20))
    path = folder / "vectors-1.f32"
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4)
        file.write(b"\xff\xff\xff\xff")
    with closing(open_gallery(folder)) as other:
        with pytest.raises(GalleryError, match="checking the gallery tells which are damaged"):
            other.search(vector_of("a"), 1)
        (fault,) = other.check()
        assert "is damaged: remove the image, then compact the gallery" in fault
        (damaged,) = other.images(names=names_of(20)[-1:])
        other.remove([damaged.key], entry=entry(AuditAction.REMOVE))
        with pytest.raises(GalleryError, match="removed images go when it is compacted"):
            other.search(vector_of("a"), 1)
        other.compact()
        assert nearest(other, "b-4.jpg") == "b-4.jpg"


@pytest.mark.parametrize(
    "content", [b"no database at all, whatever its name says" * 50, b"\0" * 4096]
)
def test_a_database_that_is_none_is_refused_in_words(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "gallery.sqlite").write_bytes(content)
    with pytest.raises(GalleryError, match=f"{folder} is damaged"):
        open_gallery(folder)


def test_damaged_pages_are_an_error_in_words(folder: Path) -> None:
    with closing(open_gallery(folder)) as gallery:
        add(gallery, names_of(300))
    path = folder / "gallery.sqlite"
    content = bytearray(path.read_bytes())
    content[8192:] = b"\x17" * (len(content) - 8192)
    path.write_bytes(content)
    with closing(open_gallery(folder)) as gallery:
        assert any("damaged" in fault for fault in gallery.check())
        with pytest.raises(GalleryError, match="damaged"):
            gallery.images()


def test_databases_of_other_programs_and_later_formats_are_refused(
    tmp_path: Path, folder: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "gallery.sqlite")) as connection:
        connection.execute("CREATE TABLE other (x)")
    with pytest.raises(GalleryError, match="another program's database"):
        open_gallery(tmp_path)
    open_gallery(folder).close()
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(GalleryError, match="format 7"):
        open_gallery(folder)


def test_a_gallery_whose_making_was_interrupted_is_none_yet(folder: Path) -> None:
    folder.mkdir()
    (folder / "gallery.sqlite").touch()
    with pytest.raises(GalleryError, match="holds no gallery"):
        open_gallery(folder, create=False)
    with closing(open_gallery(folder)) as gallery:
        assert gallery.check() == ()


def test_a_gallery_that_may_not_be_written_is_read_all_the_same(tmp_path: Path) -> None:
    # Folders of pytest are closed to other users.
    parent = Path(tempfile.mkdtemp())
    folder, outcome = parent / "gallery", tmp_path / "outcome.json"
    try:
        with closing(open_gallery(folder)) as gallery:
            add(gallery, names_of(5))
        parent.chmod(0o755)
        folder.chmod(0o555)
        process = spawn(read_without_rights, folder, outcome)
        process.join()
        assert process.exitcode == 0
        told = json.loads(outcome.read_text())
        assert told["image"] == "b-1.jpg"
        assert told["faults"] == []
        assert "cannot be written" in told["error"]
        assert files_of(folder) == {"gallery.sqlite", "keys-1.i64", "vectors-1.f32"}
    finally:
        folder.chmod(0o755)
        shutil.rmtree(parent)


@pytest.mark.parametrize("num_bytes", [20_000, 100_000])
def test_a_full_disk_leaves_the_state_before(
    folder: Path, gallery: Gallery, tmp_path: Path, num_bytes: int
) -> None:
    add(gallery, names_of(5))
    before, outcome = gallery.describe(), tmp_path / "outcome.json"
    process = spawn(add_on_a_full_disk, folder, outcome, num_bytes)
    process.join()
    assert process.exitcode == 0
    assert str(folder) in json.loads(outcome.read_text())["error"]
    assert gallery.describe() == before
    assert gallery.check() == ()
    add(gallery, ["a-new.jpg"])
    assert nearest(gallery, "a-new.jpg") == "a-new.jpg"
    assert gallery.check() == ()


def test_a_gallery_that_cannot_be_made_where_it_shall_be_says_why(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.setattr(SqliteRecords, "is_writable", property(lambda _: False))
    with pytest.raises(GalleryError, match=f"{folder} cannot be written"):
        open_gallery(folder)
    assert files_of(folder) == set()


def test_who_may_only_read_takes_a_file_for_unchanging_only_where_nobody_has_it_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqliteRecords, "_require_writable", lambda _: None)
    with closing(open_gallery(folder)) as owner:
        add(owner, names_of(5))
        owner.compact()  # which leaves an empty log
        monkeypatch.setattr(SqliteRecords, "is_writable", property(lambda _: False))
        with closing(open_gallery(folder, create=False)) as reader:
            assert records_of(reader)._mode() == "ro"
            assert nearest(reader, "b-1.jpg") == "b-1.jpg"
            add(owner, ["a-new.jpg"])
            assert nearest(reader, "a-new.jpg") == "a-new.jpg"
    with closing(open_gallery(folder, create=False)) as reader:
        assert records_of(reader)._mode() == "ro&immutable=1"
        assert nearest(reader, "a-new.jpg") == "a-new.jpg"


@pytest.mark.parametrize("num_bytes", [1000, 20_000])
def test_a_gallery_that_finds_no_room_is_not_begun(
    folder: Path, tmp_path: Path, num_bytes: int
) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.touch()
    folder.mkdir()
    process = spawn(make_on_a_full_disk, folder, outcome, num_bytes)
    process.join()
    assert process.exitcode == 0
    assert str(folder) in json.loads(outcome.read_text())["error"]
    assert files_of(folder) == set()


def test_galleries_made_at_the_same_moment_are_one(folder: Path) -> None:
    writers = [spawn(change_by_pairs, folder, 3) for _ in range(4)]
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    with closing(open_gallery(folder)) as gallery:
        assert len(gallery.audit()) == 4 * 5
        assert gallery.check() == ()


def test_a_new_gallery_is_in_write_ahead_mode(folder: Path, gallery: Gallery) -> None:
    assert gallery.check() == ()
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_name_that_is_no_text_is_refused_in_words(gallery: Gallery) -> None:
    image = NewImage(name="a\udcff.jpg", source="here", content="x", label="a")
    with pytest.raises(GalleryError, match="no text"):
        gallery.add([image], vector_of("a"), fingerprint=STAMP, entry=entry())
    assert gallery.describe().num_images == 0


def test_images_erased_while_an_index_is_built_are_not_in_its_file(folder: Path) -> None:
    erased: list[int] = []

    class ErasedMeanwhile(ExactIndex):
        def build(self, gallery: Tensor) -> None:
            super().build(gallery)
            if not erased:
                with closing(open_gallery(folder)) as other:
                    erased.extend(keys_of(other, gone))
                    other.erase(erased, entry=entry(AuditAction.FORGET))

    with closing(open_gallery(folder)) as gallery:
        images, vectors = distinctive_images(200), vectors_of(200)
        gallery.add(images, vectors, fingerprint=STAMP, entry=entry())
    gone = erased_numbers(images)
    with closing(
        open_filesystem_gallery(
            folder, create=False, create_index=ErasedMeanwhile, index_from_rows=1
        )
    ) as gallery:
        found = gallery.search(vectors[gone], 5)
        assert len(erased) == len(gone)
        assert not set(erased) & set(found.indices.flatten().tolist())
        assert traces_in(folder, gone, images) == set()
        assert gallery.check() == ()


def test_an_emptied_gallery_is_as_good_as_new(gallery: Gallery) -> None:
    keys = add(gallery, names_of(30))
    nearest(gallery, "b-4.jpg")
    for method in (gallery.remove, gallery.erase):
        method(keys, entry=entry(AuditAction.REMOVE))
        with pytest.raises(GalleryError, match="empty"):
            gallery.search(vector_of("a"), 1)
        assert gallery.check() == ()
    add(gallery, names_of(30))
    assert nearest(gallery, "b-4.jpg") == "b-4.jpg"


def test_files_of_others_in_the_folder_are_left_alone(folder: Path) -> None:
    folder.mkdir()
    others = {"index-2.html", "vectors-7.npy", "vectors-2024-01-31.csv", "index-1-2.md", "a.tmp"}
    for name in others:
        (folder / name).touch()
    ours = {
        "vectors-7.f32",
        "keys-7.i64",
        "index-7-100-ExactIndex-0123abcd.bin",
        "index-7-9-AnnoyIndex.tmp.forest",
    }
    for name in ours:
        (folder / name).touch()
    with closing(open_gallery(folder)) as gallery:
        keys = add(gallery, names_of(20))
        gallery.erase(keys[:1], entry=entry(AuditAction.FORGET))
    assert others == {name for name in files_of(folder) if name in others}
    assert not ours & files_of(folder)


def test_the_encoder_s_options_come_back(folder: Path) -> None:
    fingerprint = EncoderFingerprint(
        name="vit-b16",
        weights="openai",
        digest="cc",
        width=16,
        uses_cameras=True,
        options={"stride": 12, "cameras": ["1", "2"]},
    )
    with closing(open_gallery(folder)) as gallery:
        gallery.add([image_of("a")], vector_of("a"), fingerprint=fingerprint, entry=entry())
        assert gallery.describe().fingerprint == fingerprint
        with pytest.raises(GalleryError, match="rn-tiny"):
            add(gallery, ["b"])
