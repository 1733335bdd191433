"""Filling a gallery from lists of pictures, on fakes."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch

from reid.adapters.galleries.memory import open_memory_gallery
from reid.domain.errors import DatasetError, GalleryError
from reid.domain.services import gallery_filling
from reid.domain.services.gallery_filling import PART_SIZE, GalleryFilling
from reid.domain.values.galleries import AuditAction, GalleryChanges, KeptPicture
from reid.domain.values.samples import Picture, UnreadableImage
from tests.fakes.dataset import FakePictures
from tests.fakes.vector_index import FakeIndex
from tests.services.identifying import Workbench

ANNA, BERT, CARL = Picture("a", "anna"), Picture("b", "bert"), Picture("c", "carl")


class Elsewhere(FakePictures):
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


def renamed(source: FakePictures, names: Mapping[str, str]) -> FakePictures:
    """The same content and labels under other names."""
    labels = {picture.image: picture for picture in source.pictures()}
    other = FakePictures(
        [Picture(new, labels[old].label, labels[old].camera) for old, new in names.items()]
    )
    other.images = {new: source.images[old] for old, new in names.items()}
    return other


def labels_of(gallery: open_memory_gallery) -> dict[str, str]:
    return {picture.image: picture.label for picture in gallery.pictures()}


def test_a_new_gallery_gets_every_picture_with_its_vector() -> None:
    bench, people = Workbench(), FakePictures([ANNA, BERT, CARL])
    gallery = bench.gallery()
    assert counts(bench.filling.fill(gallery, people, mirrors=True)) == (3, 0, 0, 0)
    kept = gallery.pictures()
    assert [picture.image for picture in kept] == ["a", "b", "c"]
    assert {picture.source for picture in kept} == {people.place}
    assert [picture.content for picture in kept] == list(people.content_digests(["a", "b", "c"]))
    expected = bench.embedder.embed(people, ["a", "b", "c"], camids=None, subset="again")
    assert torch.equal(gallery.vectors([picture.key for picture in kept]), expected)
    assert gallery.describe().stamp == bench.stamp()


def test_unchanged_pictures_are_neither_embedded_nor_written() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures([ANNA, BERT]), mirrors=True)
    before = gallery.describe()
    again = bench.filling.fill(gallery, FakePictures([ANNA, BERT]), mirrors=True)
    assert counts(again) == (0, 0, 2, 0)
    assert gallery.describe() == before
    assert bench.num_embedded() == 2


def test_only_new_pictures_are_embedded() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    many = [Picture(f"{number:03d}", f"person {number % 7}") for number in range(120)]
    bench.filling.fill(gallery, FakePictures(many[:20]), mirrors=True)
    assert counts(bench.filling.fill(gallery, FakePictures(many), mirrors=True)) == (100, 0, 20, 0)
    assert bench.num_embedded() == 120


def test_a_building_mirrors_its_source_and_an_adding_does_not() -> None:
    bench = Workbench()
    added, mirrored = bench.gallery(), bench.gallery()
    for gallery in (added, mirrored):
        bench.filling.fill(gallery, FakePictures([ANNA, BERT]), mirrors=True)
    changes = bench.filling.fill(added, FakePictures([CARL]), mirrors=False)
    assert counts(changes) == (1, 0, 0, 0)
    assert set(labels_of(added)) == {"a", "b", "c"}
    assert counts(bench.filling.fill(mirrored, FakePictures([CARL]), mirrors=True)) == (1, 0, 0, 2)
    assert set(labels_of(mirrored)) == {"c"}
    assert [entry.action for entry in mirrored.audit()] == [
        AuditAction.BUILD,
        AuditAction.BUILD,
        AuditAction.REMOVE,
    ]
    assert added.audit()[-1].action is AuditAction.ADD


def test_pictures_of_other_sources_stay() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.filling.fill(gallery, Elsewhere([ANNA, BERT]), mirrors=True)
    assert counts(bench.filling.fill(gallery, FakePictures([CARL]), mirrors=True)) == (1, 0, 0, 0)
    # The same picture found in two places is kept twice, and embedded once.
    assert counts(bench.filling.fill(gallery, FakePictures([ANNA]), mirrors=False)) == (0, 1, 0, 0)
    assert gallery.describe().num_pictures == 4


def test_another_label_or_camera_is_an_update_without_embedding() -> None:
    bench, people = Workbench(), FakePictures([ANNA, BERT])
    gallery = bench.gallery()
    bench.filling.fill(gallery, people, mirrors=True)
    before = gallery.vectors([gallery.pictures(labels=["bert"])[0].key])
    corrected = FakePictures([ANNA, Picture("b", "berta", camera="3")])
    corrected.images = people.images
    assert counts(bench.filling.fill(gallery, corrected, mirrors=True)) == (0, 1, 1, 0)
    (berta,) = gallery.pictures(labels=["berta"])
    assert berta.camera == "3"
    assert torch.equal(gallery.vectors([berta.key]), before)
    assert labels_of(gallery) == {"a": "anna", "b": "berta"}
    assert bench.num_embedded() == 2


def test_another_camera_is_another_vector_where_the_encoder_is_told_cameras() -> None:
    bench = Workbench(num_cameras=2)
    gallery = bench.gallery()
    here, there = (FakePictures([Picture("a", "anna", camera=camera)]) for camera in "12")
    bench.filling.fill(gallery, here, mirrors=True)
    assert counts(bench.filling.fill(gallery, there, mirrors=True)) == (1, 0, 0, 0)
    stamp = gallery.describe().stamp
    assert stamp is not None
    assert stamp.uses_cameras


def test_changed_content_is_embedded_anew() -> None:
    bench, people = Workbench(), FakePictures([ANNA, BERT])
    gallery = bench.gallery()
    bench.filling.fill(gallery, people, mirrors=True)
    people.images["a"] = 255 - people.images["a"]
    assert counts(bench.filling.fill(gallery, people, mirrors=True)) == (1, 0, 1, 0)
    assert gallery.describe().num_pictures == 2
    keys = [picture.key for picture in gallery.pictures() if picture.image == "a"]
    expected = bench.embedder.embed(people, ["a"], camids=None, subset="again")
    assert torch.equal(gallery.vectors(keys), expected)


@pytest.mark.parametrize("part_size", [1, PART_SIZE])
def test_renamed_pictures_keep_their_vectors_even_where_names_swap(
    monkeypatch: pytest.MonkeyPatch, part_size: int
) -> None:
    monkeypatch.setattr(gallery_filling, "PART_SIZE", part_size)
    bench, people = Workbench(), FakePictures([ANNA, BERT, CARL])
    gallery = bench.gallery()
    bench.filling.fill(gallery, people, mirrors=True)
    swapped = renamed(people, {"a": "b", "b": "a", "c": "d"})
    assert counts(bench.filling.fill(gallery, swapped, mirrors=True)) == (0, 3, 0, 1)
    assert labels_of(gallery) == {"b": "anna", "a": "bert", "d": "carl"}
    for picture in gallery.pictures():
        expected = bench.embedder.embed(swapped, [picture.image], camids=None, subset="again")
        torch.testing.assert_close(gallery.vectors([picture.key]), expected)


def test_unreadable_pictures_are_named_and_leave_the_gallery() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures([ANNA, BERT]), mirrors=True)
    damaged = FakePictures([ANNA, BERT, Picture("nameless")], damaged={"b": "cut", "nameless": "?"})
    changes = bench.filling.fill(gallery, damaged, mirrors=True)
    assert counts(changes) == (0, 0, 1, 1)
    assert changes.unreadable == (UnreadableImage("b", "cut"), UnreadableImage("nameless", "?"))
    assert changes.num_listed == 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FakePictures([ANNA], damaged={"a": "cut"}), "not one of 1 gallery picture can be read"),
        (FakePictures([ANNA, Picture("x")]), "no label on 1 of 2"),
        (FakePictures([ANNA, Picture("x", "a\0b")]), r"the label 'a\\x00b' of x .*control"),
        (FakePictures([ANNA, Picture("x", "\x1b[31mred")]), r"the label '\\x1b.* of x .*control"),
        (FakePictures([ANNA, Picture("x", "a\nb")]), r"the label 'a\\nb' of x .*control"),
        (FakePictures([ANNA, Picture("x", "a", "\udcff")]), r"the camera '\\udcff' of x .*control"),
        (FakePictures([ANNA, Picture("x", "a", "1\n")]), r"the camera '1\\n' of x .*control"),
    ],
)
def test_what_makes_no_sense_changes_nothing(source: FakePictures, message: str) -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures([BERT]), mirrors=True)
    with pytest.raises(DatasetError, match=message):
        bench.filling.fill(gallery, source, mirrors=True)
    assert labels_of(gallery) == {"b": "bert"}
    assert bench.num_embedded() == 1


def test_labels_in_any_script_are_kept_as_they_are() -> None:
    labels = ["\u0417\u043e\u00eb \u738b", "a/b", "-dash", "\u0645\u06cc\u200c\u062e", "x" * 5000]
    bench, pictures = Workbench(), [Picture(label, label) for label in labels]
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures(pictures), mirrors=True)
    assert labels_of(gallery) == dict(zip(labels, labels, strict=True))


def test_what_was_done_before_an_interruption_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(FakePictures):
        """Cannot be read from some picture on; a full disk, or Ctrl-C, comes to the same."""

        def find_unreadable(self, images: object) -> tuple[UnreadableImage, ...]:  # noqa: ARG002
            return ()

    monkeypatch.setattr(gallery_filling, "PART_SIZE", 4)
    bench = Workbench(batch_size=2)
    gallery = bench.gallery()
    many = [Picture(f"{number:02d}", "anna") for number in range(13)]
    with pytest.raises(DatasetError, match="10 cannot be read"):
        bench.filling.fill(gallery, Interrupted(many, damaged={"10": "gone"}), mirrors=True)
    assert gallery.describe().num_pictures == 8
    changes = bench.filling.fill(gallery, FakePictures(many), mirrors=True)
    assert counts(changes) == (5, 0, 8, 0)
    expected = bench.embedder.embed(
        FakePictures(many), [picture.image for picture in many], camids=None, subset="again"
    )
    keys = [picture.key for picture in gallery.pictures()]
    torch.testing.assert_close(gallery.vectors(keys), expected)


def test_another_encoder_is_refused_before_anything_is_embedded() -> None:
    gallery = Workbench().gallery()
    Workbench(seed=0).filling.fill(gallery, FakePictures([ANNA]), mirrors=True)
    other = Workbench(seed=1)
    with pytest.raises(GalleryError, match=r"seed 0.*the new pictures.*seed 1"):
        other.filling.fill(gallery, FakePictures([BERT]), mirrors=False)
    assert other.num_embedded() == 0


def test_pictures_are_kept_no_longer_than_was_said_at_first() -> None:
    bench = Workbench()
    gallery = bench.gallery()

    def expiries(*pictures: Picture, expires_at: str | None) -> dict[str, str | None]:
        bench.filling.fill(gallery, FakePictures(pictures), mirrors=False, expires_at=expires_at)
        return {picture.image: picture.expires_at for picture in gallery.pictures()}

    assert expiries(ANNA, expires_at=None) == {"a": None}
    assert expiries(ANNA, BERT, expires_at="2026-03-01") == {"a": "2026-03-01", "b": "2026-03-01"}
    assert expiries(ANNA, expires_at="2026-02-01") == {"a": "2026-02-01", "b": "2026-03-01"}
    assert expiries(ANNA, BERT, expires_at=None) == {"a": "2026-02-01", "b": "2026-03-01"}
    assert expiries(BERT, expires_at="2027-01-01") == {"a": "2026-02-01", "b": "2026-03-01"}
    assert bench.num_embedded() == 2


@pytest.mark.parametrize("mirrors", [True, False])
def test_a_renamed_picture_is_kept_no_longer_either(*, mirrors: bool) -> None:
    bench, people = Workbench(), FakePictures([ANNA, BERT, CARL])
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures([ANNA]), mirrors=True, expires_at="2026-02-01")
    bench.filling.fill(gallery, people, mirrors=False, expires_at="2026-03-01")
    moved = renamed(people, {"a": "x", "b": "a", "c": "c"})
    bench.filling.fill(gallery, moved, mirrors=mirrors)
    expiries = {picture.image: picture.expires_at for picture in gallery.pictures()}
    gone = {} if mirrors else {"b": "2026-03-01"}
    # The name's own time still holds too, whatever picture has the name now.
    assert expiries == {"x": "2026-02-01", "a": "2026-02-01", "c": "2026-03-01"} | gone


def test_the_same_picture_elsewhere_is_kept_as_its_own_command_says() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    bench.filling.fill(gallery, FakePictures([ANNA]), mirrors=True, expires_at="2026-02-01")
    bench.filling.fill(gallery, Elsewhere([ANNA]), mirrors=True)
    expiries = {picture.source: picture.expires_at for picture in gallery.pictures()}
    assert expiries == {FakePictures([ANNA]).place: "2026-02-01", "elsewhere": None}
    assert bench.num_embedded() == 1


def test_thumbnails_asked_for_later_are_filled_in_once_and_nothing_is_embedded() -> None:
    bench, people = Workbench(), FakePictures([ANNA, BERT])
    gallery = bench.gallery()
    bench.filling.fill(gallery, people, mirrors=True, expires_at="2026-03-01")
    before = gallery.vectors([picture.key for picture in gallery.pictures()])
    shown = GalleryFilling(
        embedder=bench.embedder, stamp=bench.stamp, now=bench.now, keeps_thumbnails=True
    )
    more = FakePictures([ANNA, BERT, CARL])
    assert counts(shown.fill(gallery, more, mirrors=False)) == (1, 2, 0, 0)
    kept = gallery.pictures()
    small = people.thumbnails(["a", "b"], height=gallery_filling.THUMBNAIL_HEIGHT)
    assert [gallery.thumbnail(picture.key) for picture in kept[:2]] == list(small)
    assert [picture.expires_at for picture in kept] == ["2026-03-01", "2026-03-01", None]
    assert torch.equal(gallery.vectors([picture.key for picture in kept[:2]]), before)
    assert counts(shown.fill(gallery, more, mirrors=False)) == (0, 0, 3, 0)
    assert bench.num_embedded() == 3


class AskedGallery(open_memory_gallery):
    """Counts the records and vectors that it gives."""

    num_given = 0

    def pictures(self, **asked: Any) -> tuple[KeptPicture, ...]:
        found = super().pictures(**asked)
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
    gallery = AskedGallery(create_index=FakeIndex)
    kept = FakePictures([Picture(f"{n}", "anna") for n in range(num_kept)])
    bench.filling.fill(gallery, kept, mirrors=True)
    more = FakePictures([Picture("new", "bert"), Picture("again", "anna")])
    more.images["again"] = kept.images["3"]
    gallery.num_given = 0
    assert counts(bench.filling.fill(gallery, more, mirrors=False)) == (1, 1, 0, 0)
    assert gallery.num_given == 2  # the record and the vector of the content that is known
