"""Naming people by a gallery: fusion, unknown people, confidence."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import ConfigurationError, GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import Decision, IdentificationOptions, Unknown
from reid.domain.services.identifier import Identifier
from reid.domain.services.queries import (
    OwnImages,
    Query,
    queries_of,
    vectors_of_queries,
)
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryFilter,
    KeptImage,
    NewImage,
)
from reid.domain.values.open_set import Calibration, Fusion, FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification
from reid.domain.values.samples import ListedImage
from tests.vectors import rerank

WIDTH = 8
STAMP = EncoderFingerprint(name="rn-tiny", weights="random", digest="aa", width=WIDTH)
ENTRY = AuditEntry(at="2026-01-01T00:00:00Z", action=AuditAction.ADD, subject="x", num_images=0)
BEST = FusionRecipe(fusion=Fusion.BEST)
MEAN = FusionRecipe(fusion=Fusion.MEAN)
VOTE = FusionRecipe(fusion=Fusion.VOTE, votes=3)
AGAIN = RerankingRecipe(k1=4, k2=2)
CALIBRATION = Calibration(
    threshold=0.5,
    false_accept_rate=0.01,
    measured_false_accept_rate=0.01,
    identification_rate=0.9,
    slope=10.0,
    intercept=-5.0,
    num_known=100,
    num_unknown=100,
)


def at(*angles: float) -> Tensor:
    """Unit vectors in a plane, at angles in degrees from the first axis."""
    radians = torch.deg2rad(torch.tensor(angles, dtype=torch.float64))
    plane = torch.stack([radians.cos(), radians.sin()], dim=1).float()
    return F.pad(plane, (0, WIDTH - 2))


def cosine(degrees: float) -> float:
    return float(at(degrees)[0, 0])


def gallery_of(labels: Sequence[str], vectors: Tensor, *, cameras: str = "") -> Gallery:
    gallery = open_memory_gallery(create_index=ExactIndex)
    images = [
        NewImage(
            name=f"{number}.jpg",
            source="here",
            content=str(number),
            label=label,
            camera=cameras[number] if cameras else None,
        )
        for number, label in enumerate(labels)
    ]
    gallery.add(images, vectors, fingerprint=STAMP, entry=ENTRY)
    return gallery


def ask(
    gallery: Gallery,
    vectors: Tensor,
    *,
    recipe: FusionRecipe = BEST,
    decision: Decision | None = None,
    reranking: RerankingRecipe | None = None,
    top_k: int = 2,
) -> tuple[Identification, ...]:
    queries = queries_of([ListedImage(f"q{row}") for row in range(len(vectors))])
    options = IdentificationOptions(recipe=recipe, top_k=top_k, reranking=reranking)
    return Identifier(gallery, options, decision or Decision()).identify(queries, vectors)


def crowd(num_people: int = 30, num_images: int = 4) -> tuple[Gallery, list[str], Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = [f"p{number:02d}" for number in range(num_people) for _ in range(num_images)]
    centres = torch.randn(num_people, WIDTH, generator=generator).repeat_interleave(4, dim=0)
    noise = torch.randn(len(labels), WIDTH, generator=generator)
    vectors = F.normalize(centres + 0.6 * noise, dim=1)
    return gallery_of(labels, vectors), labels, vectors


def queries(num_queries: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return F.normalize(torch.randn(num_queries, WIDTH, generator=generator), dim=1)


def test_the_most_similar_image_names_the_person() -> None:
    gallery, labels, vectors = crowd()
    for vector, answer in zip(queries(), ask(gallery, queries()), strict=True):
        cosines = (vectors.double() @ vector.double()).tolist()
        order = sorted(range(len(labels)), key=lambda row: -cosines[row])
        assert answer.label == labels[order[0]]
        assert answer.similarity == pytest.approx(cosines[order[0]], abs=1e-6)
        other = next(row for row in order if labels[row] != answer.label)
        assert answer.runner_up_label == labels[other]
        assert answer.runner_up_similarity == pytest.approx(cosines[other], abs=1e-6)
        assert [image.name for image in answer.images] == [f"{r}.jpg" for r in order[:2]]


@pytest.mark.parametrize(
    ("recipe", "reranking"),
    [(BEST, None), (MEAN, None), (VOTE, None), (BEST, AGAIN), (VOTE, AGAIN)],
    ids=["best", "mean", "vote", "best re-ranked", "vote re-ranked"],
)
def test_images_that_are_not_looked_at_are_as_if_not_there(
    recipe: FusionRecipe, reranking: RerankingRecipe | None
) -> None:
    _, labels, vectors = crowd()
    cameras = "1123" * (len(labels) // 4)
    rows = [row for row, camera in enumerate(cameras) if camera in "13"]
    alone = gallery_of([labels[row] for row in rows], vectors[rows])
    wanted = ask(alone, queries(), recipe=recipe, reranking=reranking)
    options = IdentificationOptions(
        recipe=recipe,
        top_k=2,
        reranking=reranking,
        within=GalleryFilter(cameras=frozenset("13")),
    )
    found = Identifier(gallery_of(labels, vectors, cameras=cameras), options).identify(
        queries_of([ListedImage(f"q{row}") for row in range(40)]), queries()
    )
    for answer, expected in zip(found, wanted, strict=True):
        assert (answer.label, answer.runner_up_label) == (expected.label, expected.runner_up_label)
        assert answer.similarity == pytest.approx(expected.similarity, abs=1e-6)
        assert [p.label for p in answer.images] == [p.label for p in expected.images]
        assert {p.camera for p in answer.images} <= {"1", "3"}


@pytest.mark.parametrize("reranking", [None, AGAIN], ids=["as is", "re-ranked"])
def test_where_nothing_is_looked_at_the_error_says_by_what(
    reranking: RerankingRecipe | None,
) -> None:
    options = IdentificationOptions(
        reranking=reranking,
        within=GalleryFilter(cameras=frozenset("9"), added_from="2026-01-01T00:00:00Z"),
    )
    people = Identifier(gallery_of(["anna", "bert"], at(0, 90), cameras="12"), options)
    wanted = "no answer for q: look at more than images by camera 9, added from 2026-01-01T"
    with pytest.raises(GalleryError, match=wanted):
        people.identify(queries_of([ListedImage("q")]), at(1))


def test_the_mean_of_a_person_s_images_names_the_person() -> None:
    gallery, labels, vectors = crowd()
    rows = {label: list(found) for label, found in groupby(range(len(labels)), labels.__getitem__)}
    means = {
        label: F.normalize(vectors[found].double().mean(dim=0), dim=0)
        for label, found in rows.items()
    }
    for vector, answer in zip(queries(), ask(gallery, queries(), recipe=MEAN), strict=True):
        cosines = {label: float(mean @ vector.double()) for label, mean in means.items()}
        first, second = sorted(cosines, key=lambda label: -cosines[label])[:2]
        assert (answer.label, answer.runner_up_label) == (first, second)
        assert answer.similarity == pytest.approx(cosines[first], abs=1e-6)


def test_the_nearest_images_vote_for_the_person() -> None:
    gallery = gallery_of("abb", at(1, 2, 3))
    (voted,), (best,) = ask(gallery, at(0), recipe=VOTE), ask(gallery, at(0))
    assert (best.label, voted.label, voted.runner_up_label) == ("a", "b", "a")
    assert voted.similarity == pytest.approx(cosine(2), abs=1e-6)


@pytest.mark.parametrize("recipe", [BEST, MEAN, VOTE], ids=lambda recipe: str(recipe.fusion))
def test_a_second_person_is_found_behind_many_images_of_the_first(recipe: FusionRecipe) -> None:
    gallery = gallery_of("a" * 150 + "b", at(*(number / 10 for number in range(150)), 90))
    (answer,) = ask(gallery, at(0), recipe=recipe)
    assert (answer.label, answer.runner_up_label) == ("a", "b")


def test_a_single_person_has_no_runner_up() -> None:
    (answer,) = ask(gallery_of("aa", at(0, 10)), at(5))
    assert (answer.label, answer.runner_up_label, answer.runner_up_similarity) == ("a", None, None)


def test_without_a_threshold_it_is_left_open_who_is_unknown() -> None:
    (answer,) = ask(gallery_of("ab", at(80, 90)), at(0))
    assert answer.is_unknown is None
    assert answer.threshold is None
    assert answer.confidence is None


def test_below_the_threshold_nobody_is_meant_but_the_nearest_is_named() -> None:
    gallery = gallery_of("ab", at(20, 90))
    decision = Decision(threshold=cosine(30), calibration=CALIBRATION)
    near, far = ask(gallery, at(0, -20), decision=decision)
    assert (near.is_unknown, far.is_unknown) == (False, True)
    assert near.threshold == cosine(30)
    assert far.label == "a"
    assert near.similarity is not None
    sigmoid = torch.sigmoid(torch.tensor(10.0 * near.similarity - 5.0, dtype=torch.float64))
    assert near.confidence == pytest.approx(float(sigmoid))


def test_a_query_of_several_images_is_answered_once() -> None:
    images = [ListedImage("z/1.jpg", "z"), ListedImage("z/2.jpg", "z"), ListedImage("y/1.jpg", "y")]
    queries = queries_of(images, are_tracklets=True)
    vectors = vectors_of_queries(queries, images, at(0, 20, 90))
    assert torch.allclose(vectors, at(10, 90), atol=1e-6)
    gallery = gallery_of("ab", at(10, 90))
    first, second = Identifier(gallery, IdentificationOptions()).identify(queries, vectors)
    assert (first.name, first.names, first.label) == ("z/1.jpg", ("z/1.jpg", "z/2.jpg"), "a")
    assert (second.name, second.names, second.label) == ("y/1.jpg", (), "b")


def test_images_are_grouped_by_folder_else_by_label_and_camera() -> None:
    images = [
        ListedImage("0002_c1_a.jpg", "0002", "1"),
        ListedImage("0002_c1_b.jpg", "0002", "1"),
        ListedImage("0002_c2_a.jpg", "0002", "2"),
        ListedImage("0003_c1_a.jpg", "0003", "1"),
        ListedImage("ann/0005_c1_a.jpg", "ann", "1"),
        ListedImage("ann/0005_c2_a.jpg", "ann", "2"),
        ListedImage("nameless.jpg"),
        ListedImage("other.jpg"),
    ]
    sizes = [len(query.images) for query in queries_of(images, are_tracklets=True)]
    assert sizes == [2, 1, 1, 2, 1, 1]


def test_single_images_keep_their_vectors_to_the_bit() -> None:
    images = [ListedImage("b"), ListedImage("a")]
    assert torch.equal(vectors_of_queries(queries_of(images), images, at(3, 4)), at(3, 4))


@pytest.mark.parametrize("recipe", [BEST, MEAN, VOTE], ids=lambda recipe: str(recipe.fusion))
def test_hidden_images_of_the_asked_person_are_no_answer(recipe: FusionRecipe) -> None:
    gallery = gallery_of("aaab", at(1, 0, 40, 45), cameras="1222")
    asked = ListedImage("q", "a", "1")

    def answer(own: OwnImages) -> Identification:
        query = Query(images=(asked,), own=own)
        return Identifier(gallery, IdentificationOptions(recipe=recipe)).identify([query], at(0))[0]

    everything, protocol, non_mated = map(answer, OwnImages)
    assert (everything.label, protocol.label, non_mated.label) == ("a", "a", "b")
    assert everything.similarity is not None
    assert everything.similarity > cosine(30)
    assert protocol.similarity == pytest.approx(cosine(40), abs=1e-5)
    assert non_mated.similarity == pytest.approx(cosine(45), abs=1e-5)


def test_a_gallery_of_the_hidden_person_alone_has_no_answer() -> None:
    query = Query(images=(ListedImage("q", "a"),), own=OwnImages.NONE)
    with pytest.raises(GalleryError, match="no answer for q"):
        Identifier(gallery_of("aa", at(0, 1)), IdentificationOptions()).identify([query], at(0))


def test_reranked_answers_are_in_the_order_of_reranked_distances() -> None:
    gallery, labels, vectors = crowd()
    recipe = RerankingRecipe(k1=6, k2=3)
    expected = rerank(queries(), vectors, recipe)
    answers = ask(gallery, queries(), reranking=recipe, top_k=3)
    for row, answer in enumerate(answers):
        order = expected[row].argsort(stable=True).tolist()
        assert [image.name for image in answer.images] == [f"{r}.jpg" for r in order[:3]]
        assert answer.label == labels[order[0]]
        of_person = [r for r in range(len(labels)) if labels[r] == answer.label]
        best = float((vectors[of_person] @ queries()[row]).max())
        assert answer.similarity == pytest.approx(best, abs=1e-5)
    plain = ask(gallery, queries(), top_k=3)
    assert [a.images for a in answers] != [a.images for a in plain]


def test_means_are_not_reranked() -> None:
    gallery, *_ = crowd()
    with pytest.raises(ConfigurationError, match="re-rank"):
        ask(gallery, queries(), recipe=MEAN, reranking=RerankingRecipe())


@pytest.mark.parametrize("reranking", [None, RerankingRecipe()])
def test_an_empty_gallery_is_refused(reranking: RerankingRecipe | None) -> None:
    with pytest.raises(GalleryError, match="empty"):
        ask(open_memory_gallery(create_index=ExactIndex), at(0), reranking=reranking)


@pytest.mark.parametrize(
    ("unknown", "threshold"), [("auto", 0.5), ("off", None), (0.25, 0.25), (0, 0.0)]
)
def test_the_threshold_is_the_gallery_s_unless_another_is_asked_for(
    unknown: Unknown, threshold: float | None
) -> None:
    decision = IdentificationOptions(unknown=unknown).decide([CALIBRATION], place="here")
    assert decision == Decision(threshold=threshold, calibration=CALIBRATION)


def test_without_a_calibration_nobody_is_unknown_unless_asked_for() -> None:
    for unknown, threshold in (("auto", None), ("off", None), (0.3, 0.3)):
        options = IdentificationOptions(unknown=unknown)  # type: ignore[arg-type]
        found = options.decide([], place="here")
        assert found == Decision(threshold=threshold)


def test_a_calibration_of_another_fusion_is_refused_and_both_are_named() -> None:
    with pytest.raises(GalleryError, match="'best', not for 'mean, tracklets'"):
        IdentificationOptions(recipe=MEAN, are_tracklets=True).decide([CALIBRATION], place="here")


def test_of_several_calibrations_that_of_the_fusion_counts() -> None:
    of_tracklets = replace(CALIBRATION, fusion="best, tracklets", threshold=0.7)
    options = IdentificationOptions(are_tracklets=True)
    found = options.decide([CALIBRATION, of_tracklets], place="here")
    assert found == Decision(threshold=0.7, calibration=of_tracklets)


def test_another_fusion_has_no_confidence() -> None:
    options = IdentificationOptions(recipe=MEAN, unknown=0.3)
    assert options.decide([CALIBRATION], place="here") == Decision(threshold=0.3)


def test_reranked_answers_keep_the_threshold_but_have_no_confidence() -> None:
    options = IdentificationOptions(reranking=AGAIN)
    assert options.decide([CALIBRATION], place="here") == Decision(threshold=0.5)


@pytest.mark.parametrize("recipe", [BEST, MEAN, VOTE])
def test_a_person_who_is_removed_during_a_query_is_no_answer_or_an_old_one(
    monkeypatch: pytest.MonkeyPatch, recipe: FusionRecipe
) -> None:
    gallery = gallery_of("aab", at(0, 5, 30))
    list_images = gallery.images

    def list_and_lose(**wanted: Any) -> tuple[KeptImage, ...]:
        found = list_images(**wanted)
        gallery.remove([1, 2], entry=ENTRY)
        return found

    monkeypatch.setattr(gallery, "images", list_and_lose)
    (query,) = queries_of([ListedImage(name="q.jpg", label=None)])
    (answer,) = Identifier(gallery, IdentificationOptions(recipe=recipe)).identify([query], at(1))
    assert answer.label == ("b" if recipe is MEAN else "a")
