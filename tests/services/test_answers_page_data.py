"""The content of pages of answers, on fakes."""

from collections.abc import Sequence

import torch
from torch.nn.functional import normalize

from reid.adapters.galleries.memory import open_memory_gallery
from reid.application.page_data import answers_page_data, thumbnails_in, thumbnails_kept
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint, NewImage
from reid.domain.values.page_data import AnswersPageData, PageLimits, Verdict
from reid.domain.values.reports import Identification, RankedImage
from reid.domain.values.samples import ListedImage
from tests.fakes.dataset import FakeImageSource
from tests.fakes.vector_index import FakeIndex
from tests.page_data import ANSWERS, answer

QUERIES = FakeImageSource([ListedImage(f"q/{n}.jpg") for n in range(1, 5)])
GALLERY = FakeImageSource(
    [ListedImage(f"g/{name}.jpg") for name in ("anna", "bert", "dora", "zoe")]
)
STAMP = EncoderFingerprint(name="fake", weights="random", digest="0" * 64, width=4)


def shown(
    answers: Sequence[Identification] = ANSWERS, *, limits: PageLimits | None = None
) -> AnswersPageData:
    return answers_page_data(
        answers,
        queries=QUERIES,
        gallery=thumbnails_in(GALLERY),
        title="Who",
        notes=["so"],
        limits=limits,
    )


def test_every_image_is_shown_once() -> None:
    page_data = shown()
    assert page_data.answers == ANSWERS
    assert list(page_data.query_thumbnails) == [f"q/{n}.jpg" for n in range(1, 5)]
    assert list(page_data.gallery_thumbnails) == [
        f"g/{name}.jpg" for name in ("anna", "bert", "dora", "zoe")
    ]
    assert (page_data.title, page_data.notes, page_data.num_queries) == ("Who", ("so",), 4)


def test_all_images_of_a_query_that_has_several_are_shown() -> None:
    several = Identification(
        name="q/1.jpg",
        names=("q/1.jpg", "q/3.jpg"),
        label="anna",
        similarity=0.5,
        runner_up_label=None,
        runner_up_similarity=None,
        images=(),
    )
    assert list(shown([several]).query_thumbnails) == ["q/1.jpg", "q/3.jpg"]


def test_an_image_that_cannot_be_read_is_left_out() -> None:
    page_data = shown([answer("q/gone.jpg", "nobody")])
    assert page_data.query_thumbnails == {}
    assert list(page_data.gallery_thumbnails) == ["g/zoe.jpg"]


def test_a_page_holds_so_many_queries_and_answers_at_most() -> None:
    page_data = shown(limits=PageLimits(num_queries=3, num_images=1))
    assert [one.name for one in page_data.answers] == ["q/1.jpg", "q/2.jpg", "q/3.jpg"]
    assert [len(one.images) for one in page_data.answers] == [1, 1, 1]
    assert page_data.num_queries == 4


def test_where_room_is_short_queries_come_before_answers_and_better_ones_before_others() -> None:
    whole = shown()
    sizes = [len(small) for small in whole.query_thumbnails.values()]
    best = len(whole.gallery_thumbnails["g/anna.jpg"])
    limits = PageLimits(thumbnail_bytes=sum(sizes) + best)
    page_data = shown(limits=limits)
    assert len(page_data.query_thumbnails) == 4
    assert list(page_data.gallery_thumbnails) == ["g/anna.jpg"]
    assert not shown(limits=PageLimits(thumbnail_bytes=0)).query_thumbnails


def test_small_images_of_a_gallery_are_those_it_keeps_or_those_of_its_sources() -> None:
    names = ["anna", "bert", "gone", "zoe"]
    digests = dict(zip(names, GALLERY.content_digests([f"g/{n}.jpg" for n in names]), strict=True))
    gallery = open_memory_gallery(create_index=FakeIndex)
    keys = gallery.add(
        [
            NewImage(
                name=f"g/{name}.jpg",
                source="lost" if name == "gone" else "folder",
                content="another by now" if name == "zoe" else digests[name],
                label=name,
                thumbnail=b"kept" if name == "anna" else None,
            )
            for name in names
        ],
        normalize(torch.eye(4), dim=1),
        fingerprint=STAMP,
        entry=AuditEntry(
            at="2026-01-01T00:00:00Z", action=AuditAction.ADD, subject="x", num_images=4
        ),
    )
    opened: list[str] = []

    def open_source(name: str) -> FakeImageSource | None:
        opened.append(name)
        return GALLERY if name == "folder" else None

    make = thumbnails_kept(gallery, open_source=open_source)
    images = [
        RankedImage(name=f"g/{name}.jpg", label=name, similarity=0.5, key=key)
        for name, key in zip(names, keys, strict=True)
    ]
    kept, made, gone, changed = make(images, 8)
    assert kept == b"kept"
    assert made == GALLERY.thumbnails(["g/bert.jpg"], height=8)[0]
    assert gone is None
    assert changed is None
    assert sorted(opened) == ["folder", "lost"]
    opened.clear()
    assert make(images[:1], 8) == [b"kept"]
    assert not opened


def test_an_answer_is_judged_by_the_querys_own_label() -> None:
    assert [Verdict.of(one) for one in ANSWERS] == [
        Verdict.RIGHT,
        Verdict.WRONG,
        Verdict.UNKNOWN,
        Verdict.UNJUDGED,
    ]
