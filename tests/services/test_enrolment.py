"""Enrolment of images from lists into a gallery, on fakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from reid.domain.errors import DatasetError, GalleryError
from reid.domain.services import enrolment
from reid.domain.services.enrolment import PART_SIZE, Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, GalleryChanges, KeptImage
from reid.domain.values.samples import ListedImage, UnreadableImage
from tests.fakes.dataset import FakeImageSource
from tests.fakes.vector_index import FakeIndex
from tests.galleries import MemoryGallery
from tests.services.identifying import Workbench

ANNA, BERT, CARL = ListedImage("a", "anna"), ListedImage("b", "bert"), ListedImage("c", "carl")


class Elsewhere(FakeImageSource):
    """Another folder."""

    @property
    def place(self) -> str:
        return "elsewhere"


def counts(changes: GalleryChanges) -> tuple[int, int, int, int]:
    return (
        changes.num_embedded,
        changes.num_updated,
        changes.num_unchanged,
        changes.num_removed,
    )


def renamed(source: FakeImageSource, names: Mapping[str, str]) -> FakeImageSource:
    """The same content and labels under other names."""
    labels = {image.name: image for image in source.images()}
    other = FakeImageSource(
        [ListedImage(new, labels[old].label, labels[old].camera) for old, new in names.items()]
    )
    other.pixels = {new: source.pixels[old] for old, new in names.items()}
    return other


def labels_of(gallery: Gallery) -> dict[str, str]:
    return {image.name: image.label for image in gallery.images()}


def test_a_new_gallery_gets_every_image_with_its_vector() -> None:
    bench, people = Workbench(), FakeImageSource([ANNA, BERT, CARL])
    gallery = bench.gallery()
    assert counts(bench.enrolment.enroll(gallery, people, mirrors=True)) == (3, 0, 0, 0)
    kept = gallery.images()
    assert [image.name for image in kept] == ["a", "b", "c"]
    assert {image.source for image in kept} == {people.place}
    assert [image.content for image in kept] == list(people.content_digests(["a", "b", "c"]))
    expected = bench.embedder.embed(people, ["a", "b", "c"], camids=None, subset="again")
    assert torch.equal(gallery.vectors([image.key for image in kept]), expected)
    assert gallery.describe().fingerprint == bench.fingerprint()


def test_unchanged_images_are_neither_embedded_nor_written() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource([ANNA, BERT]), mirrors=True)
    before = gallery.describe()
    again = bench.enrolment.enroll(gallery, FakeImageSource([ANNA, BERT]), mirrors=True)
    assert counts(again) == (0, 0, 2, 0)
    assert gallery.describe() == before
    assert bench.num_embedded() == 2


def test_only_new_images_are_embedded() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    many = [ListedImage(f"{number:03d}", f"person {number % 7}") for number in range(120)]
    bench.enrolment.enroll(gallery, FakeImageSource(many[:20]), mirrors=True)
    assert counts(bench.enrolment.enroll(gallery, FakeImageSource(many), mirrors=True)) == (
        100,
        0,
        20,
        0,
    )
    assert bench.num_embedded() == 120


def test_a_building_mirrors_its_source_and_an_adding_does_not() -> None:
    bench = Workbench()
    added, mirrored = bench.gallery(), bench.gallery()
    for gallery in (added, mirrored):
        bench.enrolment.enroll(gallery, FakeImageSource([ANNA, BERT]), mirrors=True)
    changes = bench.enrolment.enroll(added, FakeImageSource([CARL]), mirrors=False)
    assert counts(changes) == (1, 0, 0, 0)
    assert set(labels_of(added)) == {"a", "b", "c"}
    assert counts(bench.enrolment.enroll(mirrored, FakeImageSource([CARL]), mirrors=True)) == (
        1,
        0,
        0,
        2,
    )
    assert set(labels_of(mirrored)) == {"c"}
    assert [entry.action for entry in mirrored.audit()] == [
        AuditAction.BUILD,
        AuditAction.BUILD,
        AuditAction.REMOVE,
    ]
    assert added.audit()[-1].action is AuditAction.ADD


def test_images_of_other_sources_stay() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, Elsewhere([ANNA, BERT]), mirrors=True)
    assert counts(bench.enrolment.enroll(gallery, FakeImageSource([CARL]), mirrors=True)) == (
        1,
        0,
        0,
        0,
    )
    # The same image found in two places is kept twice, and embedded once.
    assert counts(bench.enrolment.enroll(gallery, FakeImageSource([ANNA]), mirrors=False)) == (
        0,
        1,
        0,
        0,
    )
    assert gallery.describe().num_images == 4


def test_another_label_or_camera_is_an_update_without_embedding() -> None:
    bench, people = Workbench(), FakeImageSource([ANNA, BERT])
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, people, mirrors=True)
    before = gallery.vectors([gallery.images(labels=["bert"])[0].key])
    corrected = FakeImageSource([ANNA, ListedImage("b", "berta", camera="3")])
    corrected.pixels = people.pixels
    assert counts(bench.enrolment.enroll(gallery, corrected, mirrors=True)) == (0, 1, 1, 0)
    (berta,) = gallery.images(labels=["berta"])
    assert berta.camera == "3"
    assert torch.equal(gallery.vectors([berta.key]), before)
    assert labels_of(gallery) == {"a": "anna", "b": "berta"}
    assert bench.num_embedded() == 2


def test_another_camera_is_another_vector_where_the_encoder_is_told_cameras() -> None:
    bench = Workbench(num_cameras=2)
    gallery = bench.gallery()
    here, there = (FakeImageSource([ListedImage("a", "anna", camera=camera)]) for camera in "12")
    bench.enrolment.enroll(gallery, here, mirrors=True)
    assert counts(bench.enrolment.enroll(gallery, there, mirrors=True)) == (1, 0, 0, 0)
    fingerprint = gallery.describe().fingerprint
    assert fingerprint is not None
    assert fingerprint.uses_cameras


def test_changed_content_is_embedded_anew() -> None:
    bench, people = Workbench(), FakeImageSource([ANNA, BERT])
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, people, mirrors=True)
    people.pixels["a"] = 255 - people.pixels["a"]
    assert counts(bench.enrolment.enroll(gallery, people, mirrors=True)) == (1, 0, 1, 0)
    assert gallery.describe().num_images == 2
    keys = [image.key for image in gallery.images() if image.name == "a"]
    expected = bench.embedder.embed(people, ["a"], camids=None, subset="again")
    assert torch.equal(gallery.vectors(keys), expected)


@pytest.mark.parametrize("part_size", [1, PART_SIZE])
def test_renamed_images_keep_their_vectors_even_where_names_swap(
    monkeypatch: pytest.MonkeyPatch, part_size: int
) -> None:
    monkeypatch.setattr(enrolment, "PART_SIZE", part_size)
    bench, people = Workbench(), FakeImageSource([ANNA, BERT, CARL])
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, people, mirrors=True)
    swapped = renamed(people, {"a": "b", "b": "a", "c": "d"})
    assert counts(bench.enrolment.enroll(gallery, swapped, mirrors=True)) == (0, 3, 0, 1)
    assert labels_of(gallery) == {"b": "anna", "a": "bert", "d": "carl"}
    for image in gallery.images():
        expected = bench.embedder.embed(swapped, [image.name], camids=None, subset="again")
        torch.testing.assert_close(gallery.vectors([image.key]), expected)


def test_unreadable_images_are_named_and_leave_the_gallery() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource([ANNA, BERT]), mirrors=True)
    damaged = FakeImageSource(
        [ANNA, BERT, ListedImage("nameless")], damaged={"b": "cut", "nameless": "?"}
    )
    changes = bench.enrolment.enroll(gallery, damaged, mirrors=True)
    assert counts(changes) == (0, 0, 1, 1)
    assert changes.unreadable == (UnreadableImage("b", "cut"), UnreadableImage("nameless", "?"))
    assert changes.num_listed == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FakeImageSource([ANNA], damaged={"a": "cut"}), "not one of 1 gallery image can be read"),
        (FakeImageSource([ANNA, ListedImage("x")]), "no label on 1 of 2"),
        (FakeImageSource([ANNA, ListedImage("x", "a\0b")]), r"the label 'a\\x00b' of x .*control"),
        (
            FakeImageSource([ANNA, ListedImage("x", "\x1b[31mred")]),
            r"the label '\\x1b.* of x .*control",
        ),
        (FakeImageSource([ANNA, ListedImage("x", "a\nb")]), r"the label 'a\\nb' of x .*control"),
        (
            FakeImageSource([ANNA, ListedImage("x", "a", "\udcff")]),
            r"the camera '\\udcff' of x .*control",
        ),
        (
            FakeImageSource([ANNA, ListedImage("x", "a", "1\n")]),
            r"the camera '1\\n' of x .*control",
        ),
    ],
)
def test_what_makes_no_sense_changes_nothing(source: FakeImageSource, message: str) -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource([BERT]), mirrors=True)
    with pytest.raises(DatasetError, match=message):
        bench.enrolment.enroll(gallery, source, mirrors=True)
    assert labels_of(gallery) == {"b": "bert"}
    assert bench.num_embedded() == 1


def test_labels_in_any_script_are_kept_as_they_are() -> None:
    labels = ["\u0417\u043e\u00eb \u738b", "a/b", "-dash", "\u0645\u06cc\u200c\u062e", "x" * 5000]
    bench, images = Workbench(), [ListedImage(label, label) for label in labels]
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource(images), mirrors=True)
    assert labels_of(gallery) == dict(zip(labels, labels, strict=True))


def test_what_was_done_before_an_interruption_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(FakeImageSource):
        """Cannot be read from some image on; a full disk, or Ctrl-C, comes to the same."""

        def find_unreadable(self, images: object) -> tuple[UnreadableImage, ...]:  # noqa: ARG002
            return ()

    monkeypatch.setattr(enrolment, "PART_SIZE", 4)
    bench = Workbench(batch_size=2)
    gallery = bench.gallery()
    many = [ListedImage(f"{number:02d}", "anna") for number in range(13)]
    with pytest.raises(DatasetError, match="10 cannot be read"):
        bench.enrolment.enroll(gallery, Interrupted(many, damaged={"10": "gone"}), mirrors=True)
    assert gallery.describe().num_images == 8
    changes = bench.enrolment.enroll(gallery, FakeImageSource(many), mirrors=True)
    assert counts(changes) == (5, 0, 8, 0)
    expected = bench.embedder.embed(
        FakeImageSource(many), [image.name for image in many], camids=None, subset="again"
    )
    keys = [image.key for image in gallery.images()]
    torch.testing.assert_close(gallery.vectors(keys), expected)


def test_another_encoder_is_refused_before_anything_is_embedded() -> None:
    gallery = Workbench().gallery()
    Workbench(seed=0).enrolment.enroll(gallery, FakeImageSource([ANNA]), mirrors=True)
    other = Workbench(seed=1)
    with pytest.raises(GalleryError, match=r"seed 0.*the new images.*seed 1"):
        other.enrolment.enroll(gallery, FakeImageSource([BERT]), mirrors=False)
    assert other.num_embedded() == 0


def test_images_are_kept_no_longer_than_was_said_at_first() -> None:
    bench = Workbench()
    gallery = bench.gallery()

    def expiries(*images: ListedImage, expires_at: str | None) -> dict[str, str | None]:
        bench.enrolment.enroll(
            gallery, FakeImageSource(images), mirrors=False, expires_at=expires_at
        )
        return {image.name: image.expires_at for image in gallery.images()}

    assert expiries(ANNA, expires_at=None) == {"a": None}
    assert expiries(ANNA, BERT, expires_at="2026-03-01") == {"a": "2026-03-01", "b": "2026-03-01"}
    assert expiries(ANNA, expires_at="2026-02-01") == {"a": "2026-02-01", "b": "2026-03-01"}
    assert expiries(ANNA, BERT, expires_at=None) == {"a": "2026-02-01", "b": "2026-03-01"}
    assert expiries(BERT, expires_at="2027-01-01") == {"a": "2026-02-01", "b": "2026-03-01"}
    assert bench.num_embedded() == 2


@pytest.mark.parametrize("mirrors", [True, False])
def test_a_renamed_image_is_kept_no_longer_either(*, mirrors: bool) -> None:
    bench, people = Workbench(), FakeImageSource([ANNA, BERT, CARL])
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource([ANNA]), mirrors=True, expires_at="2026-02-01")
    bench.enrolment.enroll(gallery, people, mirrors=False, expires_at="2026-03-01")
    moved = renamed(people, {"a": "x", "b": "a", "c": "c"})
    bench.enrolment.enroll(gallery, moved, mirrors=mirrors)
    expiries = {image.name: image.expires_at for image in gallery.images()}
    gone = {} if mirrors else {"b": "2026-03-01"}
    # The name's own time still holds too, whatever image has the name now.
    assert expiries == {"x": "2026-02-01", "a": "2026-02-01", "c": "2026-03-01"} | gone


def test_the_same_image_elsewhere_is_kept_as_its_own_command_says() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, FakeImageSource([ANNA]), mirrors=True, expires_at="2026-02-01")
    bench.enrolment.enroll(gallery, Elsewhere([ANNA]), mirrors=True)
    expiries = {image.source: image.expires_at for image in gallery.images()}
    assert expiries == {FakeImageSource([ANNA]).place: "2026-02-01", "elsewhere": None}
    assert bench.num_embedded() == 1


def test_thumbnails_asked_for_later_are_filled_in_once_and_nothing_is_embedded() -> None:
    bench, people = Workbench(), FakeImageSource([ANNA, BERT])
    gallery = bench.gallery()
    bench.enrolment.enroll(gallery, people, mirrors=True, expires_at="2026-03-01")
    before = gallery.vectors([image.key for image in gallery.images()])
    shown = Enrolment(
        embedder=bench.embedder, fingerprint=bench.fingerprint, now=bench.now, keeps_thumbnails=True
    )
    more = FakeImageSource([ANNA, BERT, CARL])
    assert counts(shown.enroll(gallery, more, mirrors=False)) == (1, 2, 0, 0)
    kept = gallery.images()
    small = people.thumbnails(["a", "b"], height=enrolment.THUMBNAIL_HEIGHT)
    assert [gallery.thumbnail(image.key) for image in kept[:2]] == list(small)
    assert [image.expires_at for image in kept] == ["2026-03-01", "2026-03-01", None]
    assert torch.equal(gallery.vectors([image.key for image in kept[:2]]), before)
    assert counts(shown.enroll(gallery, more, mirrors=False)) == (0, 0, 3, 0)
    assert bench.num_embedded() == 3


class QueriedGallery(MemoryGallery):
    """Counts the records and vectors that it gives."""

    num_given = 0

    def images(self, **asked: Any) -> tuple[KeptImage, ...]:
        found = super().images(**asked)
        self.num_given += len(found)
        return found

    def without_thumbnail(self, keys: Sequence[int]) -> frozenset[int]:
        self.num_given += len(keys)
        return super().without_thumbnail(keys)

    def vectors(self, keys: Sequence[int]) -> torch.Tensor:
        self.num_given += len(keys)
        return super().vectors(keys)


@pytest.mark.parametrize("num_kept", [10, 300])
def test_adding_to_a_large_gallery_asks_for_as_little_as_of_a_small_one(num_kept: int) -> None:
    bench = Workbench(batch_size=100)
    gallery = QueriedGallery(create_index=FakeIndex)
    kept = FakeImageSource([ListedImage(f"{n}", "anna") for n in range(num_kept)])
    bench.enrolment.enroll(gallery, kept, mirrors=True)
    more = FakeImageSource([ListedImage("new", "bert"), ListedImage("again", "anna")])
    more.pixels["again"] = kept.pixels["3"]
    gallery.num_given = 0
    assert counts(bench.enrolment.enroll(gallery, more, mirrors=False)) == (1, 1, 0, 0)
    assert gallery.num_given == 2  # the record and the vector of the content that is known
