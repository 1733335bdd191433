"""Use cases of the gallery on a gallery in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

import pytest
import torch

from reid.application.galleries import EnrollGallery, MaintainGallery
from reid.application.gallery_transfer import TransferGallery
from reid.domain.errors import DatasetError, GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, AuditEntry, NewImage
from reid.domain.values.samples import ListedImage
from reid.ports.gallery_archive import ArchivedGallery, ArchivePart
from tests.fakes.dataset import FakeImageSource
from tests.fakes.gallery_archive import FakeArchive, archived, whole
from tests.galleries import CALIBRATION, MemoryGallery
from tests.services.identifying import Workbench

PEOPLE = [
    ListedImage("1", "anna", camera="2"),
    ListedImage("2", "anna", camera="1"),
    ListedImage("3", "bert"),
]


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.day = 1

    def __call__(self) -> str:
        return f"2026-01-{self.day:02d}T00:00:00Z"


def filled(bench: Workbench, images: Sequence[ListedImage] = PEOPLE) -> Gallery:
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource(images), mirrors=True)
    return gallery


def enroll(gallery: Gallery, bench: Workbench, clock: Clock, expire_after: str | None) -> None:
    EnrollGallery(enrolment=bench.enrolment, now=clock, expire_after=expire_after).run(
        FakeImageSource(PEOPLE), open_gallery=lambda: gallery, mirrors=False
    )


def test_enrolment_tells_what_is_there_and_what_it_took() -> None:
    bench = Workbench()
    use_case = EnrollGallery(enrolment=bench.enrolment, now=Clock(), expire_after=None)
    gallery = bench.gallery()
    outcome = use_case.run(FakeImageSource(PEOPLE), open_gallery=lambda: gallery, mirrors=True)
    assert (outcome.content.num_images, outcome.num_labels) == (3, 2)
    assert outcome.changes.num_embedded == 3
    assert outcome.is_new
    again = use_case.run(FakeImageSource(PEOPLE), open_gallery=lambda: gallery, mirrors=True)
    assert not again.is_new


def test_no_gallery_is_opened_for_a_list_that_is_empty() -> None:
    def never() -> Gallery:
        raise ValueError("opened")

    use_case = EnrollGallery(enrolment=Workbench().enrolment, now=Clock(), expire_after=None)
    with pytest.raises(DatasetError):
        use_case.run(FakeImageSource([]), open_gallery=never, mirrors=True)


def test_a_list_of_content_counts_people_and_names_their_cameras() -> None:
    content = MaintainGallery(now=Clock()).list(filled(Workbench()))
    assert [(one.label, one.num_images, one.cameras) for one in content.labels] == [
        ("anna", 2, ("1", "2")),
        ("bert", 1, ()),
    ]
    assert content.num_expiring == 0
    assert [entry.action for entry in content.audit] == [AuditAction.BUILD]


def test_images_are_removed_by_name_path_or_label() -> None:
    gallery = filled(Workbench())
    keep = MaintainGallery(now=Clock())
    assert keep.remove(gallery, names=["1", "fake folder/2"]).num_images == 2
    assert keep.remove(gallery, labels=["bert"]).num_left == 0
    assert gallery.audit()[-1] == AuditEntry(
        at="2026-01-01T00:00:00Z",
        action=AuditAction.REMOVE,
        subject="0 names, 1 label",
        num_images=1,
    )


@pytest.mark.parametrize(
    ("names", "labels", "problem"),
    [
        (["1", "9"], [], "has no image '9', so nothing was changed; give its name as in an answer"),
        ([], ["anna", "zoe"], "has no label 'zoe', .*; list the gallery to see its labels"),
        (["1"], ["zoe"], "has no label 'zoe'"),
    ],
)
def test_an_unknown_name_or_label_removes_nothing_and_the_error_says_who_tells_them(
    names: list[str], labels: list[str], problem: str
) -> None:
    gallery = filled(Workbench())
    with pytest.raises(GalleryError, match=problem):
        MaintainGallery(now=Clock()).remove(gallery, names=names, labels=labels)
    assert gallery.describe().num_images == 3


def test_a_person_is_forgotten_with_a_digest_in_the_audit_log() -> None:
    gallery = filled(Workbench())
    outcome = MaintainGallery(now=Clock()).forget(gallery, "anna")
    assert (outcome.num_images, outcome.num_left) == (2, 1)
    entry = gallery.audit()[-1]
    assert (entry.action, entry.num_images) == (AuditAction.FORGET, 2)
    assert entry.subject == f"sha256:{sha256(b'anna').hexdigest()}"
    with pytest.raises(GalleryError, match="'anna'"):
        MaintainGallery(now=Clock()).forget(gallery, "anna")


def test_an_erasure_that_does_not_verify_is_no_success() -> None:
    class Leaky(MemoryGallery):
        def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
            return super().erase(list(keys)[1:], entry=entry) + 1

    bench = Workbench()
    gallery = Leaky(create_index=lambda: bench.index)
    bench.enrolment.enroll(gallery, FakeImageSource(PEOPLE), mirrors=True)
    with pytest.raises(GalleryError, match="run it again"):
        MaintainGallery(now=Clock()).forget(gallery, "anna")


def test_a_check_erases_what_has_expired_and_nothing_else() -> None:
    bench, clock = Workbench(), Clock()
    gallery = bench.gallery()
    enroll(gallery, bench, clock, "3d")
    keep = MaintainGallery(now=clock)
    for day, num_expired in ((3, 0), (4, 3), (5, 0)):
        clock.day = day
        outcome = keep.check(gallery)
        assert (outcome.num_expired, outcome.faults) == (num_expired, ())
    assert gallery.describe().num_images == 0
    assert [entry.action for entry in gallery.audit()] == [AuditAction.ADD, AuditAction.EXPIRE]


def test_images_without_an_expiry_stay() -> None:
    bench, clock = Workbench(), Clock()
    gallery = bench.gallery()
    enroll(gallery, bench, clock, None)
    clock.day = 28
    assert MaintainGallery(now=clock).check(gallery).num_images == 3


def test_compacting_is_written_down() -> None:
    gallery = filled(Workbench())
    assert MaintainGallery(now=Clock()).compact(gallery).num_images == 3
    assert gallery.audit()[-1].action is AuditAction.COMPACT


def test_a_gallery_is_taken_elsewhere_with_its_calibration() -> None:
    bench, archive, transfer = Workbench(), FakeArchive(), TransferGallery(now=Clock())
    gallery, other = filled(bench), bench.gallery()
    entry = AuditEntry(
        at="2026-01-01T00:00:00Z", action=AuditAction.CALIBRATE, subject="", num_images=0
    )
    gallery.calibrate([CALIBRATION], entry=entry)
    transfer.export(gallery, archive)
    content = transfer.import_from(archive, open_gallery=lambda: other)
    assert content.calibrations == (CALIBRATION,)
    assert content.fingerprint == gallery.describe().fingerprint
    kept, came = gallery.images(), other.images()
    assert [(one.name, one.content, one.label, one.camera) for one in kept] == [
        (one.name, one.content, one.label, one.camera) for one in came
    ]
    assert {one.source for one in came} == {"imported: fake folder"}
    vectors = [one.vectors([p.key for p in one.images()]) for one in (gallery, other)]
    assert torch.equal(*vectors)


def test_an_import_into_a_gallery_that_has_its_own_calibration_leaves_that_alone() -> None:
    bench, archive, transfer = Workbench(), FakeArchive(), TransferGallery(now=Clock())
    transfer.export(filled(bench), archive)
    other = filled(bench, [ListedImage("9", "zoe")])
    content = transfer.import_from(archive, open_gallery=lambda: other)
    assert (content.num_images, content.calibrations) == (4, ())


def test_an_export_that_the_audit_log_cannot_tell_of_is_said_to_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gallery, archive = filled(Workbench()), FakeArchive()

    def refuse(_: AuditEntry) -> None:
        raise GalleryError("it cannot be written")

    monkeypatch.setattr(gallery, "note", refuse)
    with pytest.raises(GalleryError, match=r"is complete, but the audit log.*cannot be"):
        TransferGallery(now=Clock()).export(gallery, archive)
    assert archive.read().num_images == len(PEOPLE)


def test_an_empty_gallery_is_not_exported() -> None:
    bench = Workbench()
    with pytest.raises(GalleryError, match="empty"):
        TransferGallery(now=Clock()).export(bench.gallery(), FakeArchive())


def other_of(archive: FakeArchive, bench: Workbench) -> Gallery:
    other = bench.gallery("other")
    TransferGallery(now=Clock()).import_from(archive, open_gallery=lambda: other)
    return other


def test_only_what_differs_takes_the_place_of_what_was_imported_before() -> None:
    bench, archive = Workbench(), FakeArchive()
    TransferGallery(now=Clock()).export(filled(bench), archive)
    other = other_of(archive, bench)
    before = {image.name: image.key for image in other.images()}
    known = archive.read()
    (first, *others), vectors = whole(known)
    images = [replace(first, label=first.label.upper()), *others]
    vectors[1] = vectors[1].roll(1)
    archive.content = archived(known.fingerprint, images, vectors, part_size=3)
    TransferGallery(now=Clock()).import_from(archive, open_gallery=lambda: other)
    after = {image.name: image.key for image in other.images()}
    assert [name for name in before if before[name] == after[name]] == ["3"]
    assert [image.label for image in other.images(names=["1"])] == ["ANNA"]
    assert torch.equal(other.vectors([after[name] for name in "123"]), vectors)


def test_a_calibration_made_since_an_import_survives_the_same_import() -> None:
    bench, archive = Workbench(), FakeArchive()
    gallery = filled(bench)
    entry = AuditEntry(at="", action=AuditAction.CALIBRATE, subject="", num_images=0)
    gallery.calibrate([CALIBRATION], entry=entry)
    TransferGallery(now=Clock()).export(gallery, archive)
    other = other_of(archive, bench)
    own = replace(CALIBRATION, threshold=0.75)
    other.calibrate([own], entry=entry)
    content = TransferGallery(now=Clock()).import_from(archive, open_gallery=lambda: other)
    assert content.calibrations == (own,)


def test_a_gallery_that_changes_while_it_is_exported_is_not() -> None:
    bench = Workbench()
    gallery = filled(bench)

    def remove() -> None:
        keys = [image.key for image in gallery.images(names=["3"])]
        gallery.remove(keys, entry=gallery.audit()[0])

    class Slow(FakeArchive):
        def write(self, content: ArchivedGallery) -> None:
            def parts() -> Iterator[ArchivePart]:
                found = content.parts()
                yield next(found)
                remove()
                yield from found

            super().write(replace(content, parts=parts))

    archive = Slow()
    with pytest.raises(GalleryError, match="changed while it was exported"):
        TransferGallery(now=Clock()).export(gallery, archive)
    assert archive.content is None
    assert gallery.audit()[-1].action is not AuditAction.EXPORT


@pytest.mark.parametrize("sources", [("x", "x"), ("x", "imported: x")])
def test_a_file_whose_images_would_take_each_other_s_place_is_refused(
    sources: tuple[str, str],
) -> None:
    bench, archive = Workbench(), FakeArchive()
    images = [NewImage(name="1.jpg", source=source, content="", label="") for source in sources]
    archive.content = archived(bench.fingerprint(), images, torch.eye(2, bench.fingerprint().width))

    def refuse() -> Gallery:
        raise AssertionError("no gallery is opened for it")

    with pytest.raises(GalleryError, match=r"1\.jpg of imported: x twice"):
        TransferGallery(now=Clock()).import_from(archive, open_gallery=refuse)


def test_images_of_another_encoder_are_refused_before_any_is_added() -> None:
    archive = FakeArchive(part_size=1)
    TransferGallery(now=Clock()).export(filled(Workbench(seed=1)), archive)
    other = filled(Workbench())
    with pytest.raises(GalleryError, match="fake archive by"):
        TransferGallery(now=Clock()).import_from(archive, open_gallery=lambda: other)
    assert len(other.audit()) == 1
