"""Counted scores against those of the ordered gallery."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from reid.domain.errors import EvaluationError
from reid.domain.ranking import exact_scores
from reid.domain.ranking.distances import distances, rank
from reid.domain.ranking.exact_scores import score_distances, score_embeddings
from reid.domain.ranking.metrics import QueryScores, score_rankings
from reid.domain.values.features import EmbeddingSet


def embedded_people(draw: st.DrawFn, count: int) -> EmbeddingSet:
    """Draw few persons, cameras and unit vectors, so that many distances are equal."""
    pids = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
    camids = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    angles = draw(st.lists(st.integers(0, 7), min_size=count, max_size=count))
    radians = torch.tensor(angles) * (torch.pi / 4)
    vectors = torch.stack([radians.cos(), radians.sin()], dim=1)
    return EmbeddingSet(vectors, torch.tensor(pids), torch.tensor(camids))


@st.composite
def embedded_sets(draw: st.DrawFn) -> tuple[EmbeddingSet, EmbeddingSet]:
    return (
        embedded_people(draw, draw(st.integers(0, 6))),
        embedded_people(draw, draw(st.integers(1, 20))),
    )


def assert_same_scores(found: QueryScores, expected: QueryScores) -> None:
    assert torch.equal(found.average_precision, expected.average_precision)
    assert torch.equal(found.inverse_negative_penalty, expected.inverse_negative_penalty)
    assert torch.equal(found.first_match_rank, expected.first_match_rank)
    assert torch.equal(found.num_matches, expected.num_matches)


@given(sets=embedded_sets(), rule=st.booleans())
@settings(deadline=None)
def test_counted_scores_are_those_of_the_ordered_gallery(
    sets: tuple[EmbeddingSet, EmbeddingSet], *, rule: bool
) -> None:
    queries, gallery = sets
    found = distances(queries.vectors, gallery.vectors)
    expected = score_rankings(
        rank(found), queries=queries, gallery=gallery, remove_same_camera=rule
    )
    assert_same_scores(
        score_embeddings(queries, gallery, remove_same_camera=rule),
        expected,
    )
    blocks = torch.split(found, 2) if len(found) else []
    assert_same_scores(
        score_distances(blocks, queries=queries, gallery=gallery, remove_same_camera=rule),
        expected,
    )


@pytest.mark.parametrize("length", [1, 7, 64, 299])
def test_a_gallery_counted_in_stretches_gives_the_same_scores(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    generator = torch.Generator().manual_seed(0)

    def crowd(count: int) -> EmbeddingSet:
        axes = torch.randint(12, (count,), generator=generator)  # products are exact, ties common
        persons = torch.randint(1, 9, (count,), generator=generator)
        cameras = torch.randint(3, (count,), generator=generator)
        return EmbeddingSet(torch.eye(12)[axes], persons, cameras)

    queries, gallery = crowd(40), crowd(300)
    whole = score_embeddings(queries, gallery)
    monkeypatch.setattr(exact_scores, "_LARGEST_WHOLE_GALLERY", 299)
    monkeypatch.setattr(exact_scores, "_STRETCH_LENGTH", length)
    monkeypatch.setattr(exact_scores, "_ENTRIES_PER_STRETCH", 1)
    monkeypatch.setattr(exact_scores, "_ROWS_PER_STRETCH", 9)
    assert_same_scores(score_embeddings(queries, gallery), whole)


@given(
    found=st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 2.0]), min_size=1, max_size=40),
    first=st.integers(0, 30),
    matches=st.lists(st.integers(0, 60), min_size=1, max_size=9, unique=True),
    data=st.data(),
)
def test_equal_distances_are_counted_by_gallery_row(
    found: list[float], first: int, matches: list[int], data: st.DataObject
) -> None:
    # A match outside the stretch may be at any distance; one inside is at its own.
    own = [
        found[row - first] if 0 <= row - first < len(found) else data.draw(st.sampled_from(found))
        for row in matches
    ]
    ordered = sorted(zip(own, matches, strict=True))
    expected = [
        sum((value, row) < match for row, value in enumerate(found, start=first))
        for match in ordered
    ]
    counts = exact_scores._count_before(
        np.array(found, dtype=np.float32),
        first,
        own=np.array([distance for distance, _ in ordered], dtype=np.float32),
        rows=np.array([row for _, row in ordered]),
    )
    assert counts.tolist() == expected


@pytest.mark.parametrize("spread", [0.02, 1.0])
def test_scores_do_not_depend_on_the_number_of_threads(spread: float) -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(20, 16, generator=generator)

    def crowd(count: int) -> EmbeddingSet:
        pids = torch.arange(count) % 20
        noise = spread * torch.randn(count, 16, generator=generator)
        # Rounded, so that some of the distances are equal.
        vectors = F.normalize(((centres[pids] + noise) * 4).round(), dim=1)
        return EmbeddingSet(vectors, pids, torch.arange(count) % 3)

    queries, gallery = crowd(70), crowd(900)
    found = distances(queries.vectors, gallery.vectors)
    expected = score_rankings(rank(found), queries=queries, gallery=gallery)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            scores = score_distances([found], queries=queries, gallery=gallery)
            assert_same_scores(scores, expected)
    finally:
        torch.set_num_threads(before)


def test_counting_leaves_the_vectors_as_they_were() -> None:
    vectors = F.normalize(torch.randn(30, 24, generator=torch.Generator().manual_seed(0)))
    rows = torch.arange(30)
    embedded = EmbeddingSet(vectors.clone(), rows % 4, rows % 3)
    score_embeddings(embedded, embedded)
    assert torch.equal(embedded.vectors, vectors)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_embeddings_that_are_no_numbers_are_not_scored(number: float) -> None:
    good = EmbeddingSet(torch.eye(2), torch.tensor([1, 2]), torch.tensor([0, 0]))
    bad = EmbeddingSet(torch.tensor([[1.0, number]]), torch.tensor([1]), torch.tensor([1]))
    for queries, gallery in ((good, bad), (bad, good)):
        with pytest.raises(EvaluationError, match="not a finite number"):
            score_embeddings(queries, gallery)
