"""What every gallery must do.

An adapter is added to the contract by one line in GALLERIES. Galleries that keep images beyond
the process have further promises in tests of their own.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.galleries.milvus.gallery import open_milvus_gallery
from reid.adapters.galleries.postgres.gallery import open_postgres_gallery, open_postgres_records
from reid.adapters.indexes.annoy import AnnoyIndex
from reid.adapters.indexes.exact import ExactIndex
from reid.application.gallery_transfer import TransferGallery
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, EncoderFingerprint, GalleryFilter
from reid.ports.gallery_archive import ArchivedGallery, ArchivePart
from tests.fakes.gallery_archive import FakeArchive
from tests.galleries import CALIBRATION, STAMP, enroll, entry, new_images, vectors_of
from tests.milvus import lite_address
from tests.postgres import server_address, unused_name

GALLERIES: dict[str, Callable[[Path], Gallery]] = {
    "memory": lambda _: open_memory_gallery(create_index=ExactIndex),
    "filesystem": lambda folder: open_filesystem_gallery(
        folder, create=True, create_index=ExactIndex
    ),
    "filesystem-index-kept": lambda folder: open_filesystem_gallery(
        folder, create=True, create_index=ExactIndex, index_from_rows=1
    ),
    "filesystem-approximate": lambda folder: open_filesystem_gallery(
        folder, create=True, create_index=AnnoyIndex, index_from_rows=1
    ),
    "postgres": lambda _: open_postgres_gallery(server_address(), name=unused_name()),
    "postgres-graph": lambda _: open_postgres_gallery(
        server_address(), name=unused_name(), tenant="hall", exact_up_to=0
    ),
    "milvus": lambda folder: open_milvus_gallery(lite_address(folder)),
    "milvus-flat": lambda folder: open_milvus_gallery(
        lite_address(folder), tenant="b", index="FLAT"
    ),
    "milvus-postgres": lambda folder: open_milvus_gallery(
        lite_address(folder),
        open_records=lambda: open_postgres_records(
            server_address(), kind="milvus", name=unused_name(), create=True
        ),
    ),
}


@pytest.fixture(params=list(GALLERIES.values()), ids=list(GALLERIES))
def gallery(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gallery]:
    factory: Callable[[Path], Gallery] = request.param
    with closing(factory(tmp_path / "gallery")) as opened:
        yield opened


def test_a_new_gallery_is_empty(gallery: Gallery) -> None:
    description = gallery.describe()
    assert (description.fingerprint, description.num_images) == (None, 0)
    assert gallery.images() == ()
    assert gallery.check() == ()


def test_an_empty_gallery_cannot_be_searched(gallery: Gallery) -> None:
    with pytest.raises(GalleryError, match="empty"):
        gallery.search(vectors_of(1), 1)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 0, 0.1])
@pytest.mark.parametrize("within", [GalleryFilter(), GalleryFilter(labels=frozenset("ab"))])
def test_a_query_that_is_no_unit_vector_is_refused(
    gallery: Gallery, number: float, within: GalleryFilter
) -> None:
    enroll(gallery, 40)
    queries = torch.cat([vectors_of(1), torch.full((1, STAMP.width), number)])
    for k in (1, 30):
        with pytest.raises(GalleryError, match="unit L2 norm"):
            gallery.search(queries, k, within=within)


def test_what_is_added_is_described(gallery: Gallery) -> None:
    keys = enroll(gallery, 13)
    description = gallery.describe()
    assert len(set(keys)) == 13
    assert description.fingerprint is not None
    assert description.fingerprint.agrees_with(STAMP)
    assert str(description.fingerprint) == str(STAMP)
    assert description.num_images == 13


def test_images_come_back_as_they_were_added(gallery: Gallery) -> None:
    keys = enroll(gallery)
    images = gallery.images()
    assert [image.key for image in images] == sorted(keys)
    by_key = {image.key: image for image in images}
    for key, added in zip(keys, new_images(12), strict=True):
        kept = by_key[key]
        assert (kept.name, kept.source, kept.content) == (added.name, added.source, added.content)
        assert (kept.label, kept.camera, kept.expires_at) == (added.label, added.camera, None)
        assert kept.added_at == "2026-01-01T00:00:00Z"


STRANGE_LABELS = (
    *("o'neill\"; drop table x", "' or 1=1 or '", "\\", 'a\\"b', "\\u0041", "{own}", "%s", "$1"),
    *("a\nb", "a\r\tb", "\x01", "\b\f\x1f\x7f", "B\u00e4r", "\u2028", "\U0001f600", "x" * 2000),
)


def test_labels_are_kept_and_found_as_they_are(gallery: Gallery) -> None:
    images = [
        replace(image, label=label)
        for image, label in zip(new_images(len(STRANGE_LABELS)), STRANGE_LABELS, strict=True)
    ]
    keys = gallery.add(images, vectors_of(len(STRANGE_LABELS)), fingerprint=STAMP, entry=entry())
    for key, label in zip(keys, STRANGE_LABELS, strict=True):
        (found,) = gallery.images(labels=[label])
        assert (found.key, found.label) == (key, label)
        within = GalleryFilter(labels=frozenset([label]))
        assert gallery.search(vectors_of(1), 1, within=within).indices.tolist() == [[key]]
    assert {found.label for found in gallery.images(labels=STRANGE_LABELS)} == set(STRANGE_LABELS)


@pytest.mark.parametrize("fact", ["name", "source", "content", "label", "camera"])
def test_a_text_with_nul_is_refused_whatever_it_is_of(gallery: Gallery, fact: str) -> None:
    enroll(gallery)
    before = gallery.describe()
    stray = replace(new_images(1, source="there")[0], **{fact: "a\0b"})  # type: ignore[arg-type]
    with pytest.raises(GalleryError):
        gallery.add([stray], vectors_of(1), fingerprint=STAMP, entry=entry())
    assert gallery.describe() == before


def test_a_text_with_nul_is_not_taken_for_its_beginning(gallery: Gallery) -> None:
    enroll(gallery)
    assert gallery.images(labels=["a\0b"]) == ()
    assert gallery.images(source="here\0", names=["0.jpg"]) == ()
    assert gallery.images(names=["0.jpg\0"]) == ()
    assert {image.label for image in gallery.images(labels=["a\0b", "b"])} == {"b"}


def test_images_are_looked_up_by_key_and_by_label(gallery: Gallery) -> None:
    keys = enroll(gallery)
    assert [p.key for p in gallery.images(keys=[keys[3], keys[1], 999])] == [keys[1], keys[3]]
    assert {p.label for p in gallery.images(labels=["b", "nobody"])} == {"b"}
    assert len(gallery.images(labels=["b"])) == 4


def test_vectors_come_back_to_the_bit_in_the_order_asked(gallery: Gallery) -> None:
    keys, vectors = enroll(gallery), vectors_of(12)
    assert torch.equal(gallery.vectors([keys[5], keys[2]]), vectors[[5, 2]])
    with pytest.raises(GalleryError, match="999"):
        gallery.vectors([999])


def test_thumbnails_are_kept_where_given(gallery: Gallery) -> None:
    keys = enroll(gallery)
    assert gallery.thumbnail(keys[0]) == b"jpeg"
    assert gallery.thumbnail(keys[1]) is None


def test_images_without_a_thumbnail_are_listed(gallery: Gallery) -> None:
    assert gallery.without_thumbnail([1]) == frozenset()
    keys = enroll(gallery)
    assert gallery.without_thumbnail([*keys, 999]) == frozenset(keys[1:])
    assert gallery.without_thumbnail(keys[:3]) == frozenset(keys[1:3])
    gallery.remove([keys[0], keys[1]], entry=entry(AuditAction.REMOVE))
    assert gallery.without_thumbnail(keys) == frozenset(keys[2:])


def test_images_are_looked_up_by_source_name_and_content(gallery: Gallery) -> None:
    here = enroll(gallery, 6)
    there = gallery.add(
        new_images(4, source="there"), vectors_of(4, seed=9), fingerprint=STAMP, entry=entry(day=2)
    )

    def keys_of(**asked: Any) -> list[int]:
        return [image.key for image in gallery.images(**asked)]

    assert keys_of(source="there") == sorted(there)
    assert keys_of(source="nowhere") == []
    assert keys_of(names=["1.jpg", "5.jpg", "none.jpg"]) == sorted([here[1], here[5], there[1]])
    assert keys_of(source="there", names=["1.jpg", "5.jpg"]) == [there[1]]
    assert keys_of(contents=["digest-here-2", "digest-there-3"]) == sorted([here[2], there[3]])
    assert keys_of(contents=["digest-here-2"], labels=["a"]) == []
    assert keys_of(contents=[]) == keys_of(names=[]) == keys_of(labels=[]) == []


def test_images_whose_time_has_come_are_looked_up(gallery: Gallery) -> None:
    ends = [None, "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]
    images = [
        replace(image, expires_at=end) for image, end in zip(new_images(3), ends, strict=True)
    ]
    keys = gallery.add(images, vectors_of(3), fingerprint=STAMP, entry=entry())
    for at, expected in (
        ("2026-01-31T23:59:59Z", []),
        ("2026-02-01T00:00:00Z", [keys[1]]),
        ("2027-01-01T00:00:00Z", sorted(keys[1:])),
    ):
        assert [image.key for image in gallery.images(expired_at=at)] == expected


def test_pages_give_every_image_once_in_order(gallery: Gallery) -> None:
    assert [*gallery.pages(5)] == []
    keys = enroll(gallery, 12)
    gallery.remove(keys[3:5], entry=entry(AuditAction.REMOVE, day=2))
    first, second, third = gallery.pages(4)
    assert (len(first), len(second), len(third)) == (4, 4, 2)
    assert (*first, *second, *third) == gallery.images()


def test_every_image_finds_itself_first(gallery: Gallery) -> None:
    keys = enroll(gallery, 40)
    answers = gallery.search(vectors_of(40), 3)
    assert answers.indices[:, 0].tolist() == list(keys)
    assert torch.allclose(answers.distances[:, 0], torch.zeros(40), atol=1e-5)
    assert (answers.distances[:, 1:] >= answers.distances[:, :-1]).all()


def test_there_are_at_most_as_many_answers_as_images(gallery: Gallery) -> None:
    enroll(gallery, 5)
    for many in (9, 100_000):
        assert gallery.search(vectors_of(2, seed=1), many).indices.shape == (2, 5)


def test_queries_that_make_no_sense_are_refused(gallery: Gallery) -> None:
    enroll(gallery)
    with pytest.raises(GalleryError, match="at least 1"):
        gallery.search(vectors_of(1), 0)
    with pytest.raises(GalleryError, match="width"):
        gallery.search(torch.ones(1, 3) / 3**0.5, 1)


@pytest.mark.parametrize(
    ("within", "admitted"),
    [
        (GalleryFilter(cameras=frozenset("1")), {0, 2, 4, 6, 8, 10}),
        (GalleryFilter(without_cameras=frozenset("1")), {1, 3, 5, 7, 9, 11}),
        (GalleryFilter(labels=frozenset("a")), {0, 3, 6, 9}),
        (GalleryFilter(labels=frozenset("a"), cameras=frozenset("2")), {3, 9}),
        (GalleryFilter(added_from="2026-01-01T00:00:00Z"), set(range(12))),
        (GalleryFilter(added_until="2026-01-01T00:00:00Z"), set()),
        (GalleryFilter(labels=frozenset()), set()),
    ],
)
def test_a_filter_leaves_out_what_it_does_not_admit(
    gallery: Gallery, within: GalleryFilter, admitted: set[int]
) -> None:
    keys = enroll(gallery)
    answers = gallery.search(vectors_of(3, seed=1), 12, within=within)
    assert answers.indices.shape == (3, 12)
    expected = {keys[number] for number in admitted}
    for row in range(3):
        found = answers.indices[row, : len(admitted)].tolist()
        assert set(found) == expected
        assert (answers.indices[row, len(admitted) :] == -1).all()
        assert answers.distances[row, len(admitted) :].isinf().all()


def test_filtered_answers_are_ranked_as_unfiltered_ones(gallery: Gallery) -> None:
    enroll(gallery, 40)
    queries = vectors_of(6, seed=1)
    everything = gallery.search(queries, 40)
    within = GalleryFilter(cameras=frozenset("1"))
    filtered = gallery.search(queries, 40, within=within)
    of_camera = {image.key for image in gallery.images() if image.camera == "1"}
    for row in range(6):
        wanted = [key for key in everything.indices[row].tolist() if key in of_camera]
        assert filtered.indices[row, : len(wanted)].tolist() == wanted


def test_images_of_another_encoder_are_refused_and_both_named(gallery: Gallery) -> None:
    enroll(gallery)
    other = EncoderFingerprint(name="rn50", weights="openai", digest="bb", width=16)
    with pytest.raises(GalleryError, match=r"rn-tiny .*rn50 "):
        gallery.add(new_images(1, source="there"), vectors_of(1), fingerprint=other, entry=entry())
    assert gallery.describe().num_images == 12


def test_what_cannot_be_added_changes_nothing(gallery: Gallery) -> None:
    enroll(gallery)
    before = gallery.describe()
    for images, vectors in (
        (new_images(2, source="there"), vectors_of(3)),
        (new_images(2, source="there"), 2 * vectors_of(2)),
        ([*new_images(1, source="there"), *new_images(1, source="there")], vectors_of(2)),
    ):
        with pytest.raises(GalleryError):
            gallery.add(images, vectors, fingerprint=STAMP, entry=entry(day=2))
    assert gallery.describe() == before
    assert len(gallery.audit()) == 1


def test_more_images_are_found_beside_the_first(gallery: Gallery) -> None:
    first = enroll(gallery)
    gallery.search(vectors_of(1), 1)
    second = gallery.add(
        new_images(4, source="there"), vectors_of(4, seed=9), fingerprint=STAMP, entry=entry(day=2)
    )
    assert not set(first) & set(second)
    assert gallery.search(vectors_of(4, seed=9), 1).indices[:, 0].tolist() == list(second)
    assert gallery.search(vectors_of(12), 1).indices[:, 0].tolist() == list(first)


def test_the_same_name_of_the_same_source_takes_the_place_of_the_one_before(
    gallery: Gallery,
) -> None:
    first = enroll(gallery)
    (key,) = gallery.add(
        new_images(1, label="z"), vectors_of(1, seed=9), fingerprint=STAMP, entry=entry(day=2)
    )
    assert key not in first
    assert gallery.describe().num_images == 12
    assert gallery.images(keys=[first[0]]) == ()
    assert gallery.search(vectors_of(1, seed=9), 1).indices.tolist() == [[key]]
    assert gallery.thumbnail(first[0]) is None


@pytest.mark.parametrize("method", ["remove", "erase"])
def test_removed_images_are_no_answer_any_more(gallery: Gallery, method: str) -> None:
    keys = enroll(gallery)
    gallery.search(vectors_of(1), 1)
    remove = getattr(gallery, method)
    gone = [keys[0], keys[7]]
    assert remove([*gone, 999], entry=entry(AuditAction.REMOVE, day=2)) == 2
    assert gallery.describe().num_images == 10
    assert gallery.images(keys=gone) == ()
    assert gallery.thumbnail(keys[0]) is None
    left = [key for key in keys if key not in gone]
    assert sorted(gallery.search(vectors_of(1), 12).indices[0].tolist()) == sorted(left)
    assert torch.equal(gallery.vectors([keys[8]]), vectors_of(12)[[8]])
    assert gallery.check() == ()


def test_keys_are_never_given_twice(gallery: Gallery) -> None:
    keys = enroll(gallery)
    gallery.erase(keys, entry=entry(AuditAction.FORGET, day=2))
    assert gallery.describe().num_images == 0
    assert not set(keys) & set(enroll(gallery))


def test_the_version_grows_with_every_change_of_images(gallery: Gallery) -> None:
    versions = [gallery.describe().version]
    keys = enroll(gallery)
    versions.append(gallery.describe().version)
    gallery.remove(keys[:1], entry=entry(AuditAction.REMOVE))
    versions.append(gallery.describe().version)
    assert versions == sorted(set(versions))


def test_a_calibration_is_kept_for_each_fusion_until_another_replaces_it(gallery: Gallery) -> None:
    enroll(gallery)
    assert gallery.describe().calibrations == ()
    of_tracklets = replace(CALIBRATION, fusion="best, tracklets")
    gallery.calibrate([of_tracklets], entry=entry(AuditAction.CALIBRATE, day=2))
    gallery.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE, day=2))
    assert gallery.describe().calibrations == (CALIBRATION, of_tracklets)
    stricter = replace(of_tracklets, threshold=of_tracklets.threshold + 0.1)
    gallery.calibrate([stricter], entry=entry(AuditAction.CALIBRATE, day=3))
    assert gallery.describe().calibrations == (CALIBRATION, stricter)


def test_the_audit_log_tells_every_change_in_order(gallery: Gallery) -> None:
    keys = enroll(gallery)
    told = [
        entry(),
        entry(AuditAction.REMOVE, day=2, count=1),
        entry(AuditAction.FORGET, day=3, count=2),
        entry(AuditAction.EXPORT, day=4, count=9),
    ]
    gallery.remove(keys[:1], entry=told[1])
    gallery.erase(keys[1:3], entry=told[2])
    gallery.note(told[3])
    assert gallery.audit() == tuple(told)


def test_compacting_changes_no_answer(gallery: Gallery) -> None:
    keys = enroll(gallery, 40)
    gallery.remove(keys[10:30], entry=entry(AuditAction.REMOVE, day=2))
    before = gallery.search(vectors_of(5, seed=1), 7)
    gallery.compact()
    after = gallery.search(vectors_of(5, seed=1), 7)
    assert torch.equal(before.indices, after.indices)
    assert torch.allclose(before.distances, after.distances, atol=1e-6)
    assert gallery.check() == ()


def test_closing_twice_is_safe(gallery: Gallery) -> None:
    enroll(gallery)
    gallery.close()
    gallery.close()


class Breaking(FakeArchive):
    """Comes to an end after so many parts, when it is read for the second time."""

    def __init__(self, whole: FakeArchive, *, num_parts: int) -> None:
        super().__init__()
        self.whole, self.num_parts, self.is_first = whole, num_parts, True

    def read(self) -> ArchivedGallery:
        content = self.whole.read()

        def parts() -> Iterator[ArchivePart]:
            if self.is_first:
                self.is_first = False
                yield from content.parts()
                return
            yield from islice(content.parts(), self.num_parts)
            raise GalleryError("no more")

        return replace(content, parts=parts)


class Kept:
    """Outlives the import that closes it."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gallery, name)

    def close(self) -> None:
        pass


def told(gallery: Gallery) -> tuple[list[tuple[str | None, ...]], Tensor]:
    """What of images and vectors an archive takes along."""
    kept = sorted(gallery.images(), key=lambda image: image.content)
    rows: list[tuple[str | None, ...]] = [
        (p.name, p.content, p.label, p.camera, p.expires_at) for p in kept
    ]
    return rows, gallery.vectors([image.key for image in kept])


def test_a_gallery_is_taken_elsewhere_in_parts(gallery: Gallery) -> None:
    enroll(gallery)
    gallery.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE))
    archive, other = FakeArchive(part_size=5), open_memory_gallery(create_index=ExactIndex)
    transfer = TransferGallery(now=lambda: "2026-01-01T00:00:00Z")
    content = transfer.export(gallery, archive)
    assert gallery.audit()[-1].action is AuditAction.EXPORT
    transfer.import_from(archive, open_gallery=lambda: other)
    assert other.describe().calibrations == content.calibrations == (CALIBRATION,)
    rows, vectors = told(gallery)
    assert (rows, {image.source for image in other.images()}) == (
        told(other)[0],
        {"imported: here"},
    )
    assert torch.equal(vectors, told(other)[1])


def test_an_import_that_broke_off_is_finished_by_the_next(gallery: Gallery) -> None:
    given, archive = open_memory_gallery(create_index=ExactIndex), FakeArchive(part_size=5)
    enroll(given)
    given.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE))
    transfer = TransferGallery(now=lambda: "2026-01-01T00:00:00Z")
    transfer.export(given, archive)
    opened: Any = Kept(gallery)
    with pytest.raises(GalleryError, match=r"the first 10 of 12 images are in .* already"):
        transfer.import_from(Breaking(archive, num_parts=2), open_gallery=lambda: opened)
    assert (gallery.describe().num_images, gallery.describe().calibrations) == (10, ())
    for _ in range(2):
        content = transfer.import_from(archive, open_gallery=lambda: opened)
        assert (content.num_images, content.calibrations) == (12, (CALIBRATION,))
        assert told(gallery)[0] == told(given)[0]
        assert torch.equal(told(gallery)[1], told(given)[1])
        assert gallery.check() == ()
    imports = [line for line in gallery.audit() if line.action is AuditAction.IMPORT]
    assert [(line.subject, line.num_images) for line in imports] == [
        ("fake archive, images 1 to 5 of 12", 5),
        ("fake archive, images 6 to 10 of 12", 5),
        ("fake archive, images 11 to 12 of 12", 2),
        ("fake archive", 0),
    ]
