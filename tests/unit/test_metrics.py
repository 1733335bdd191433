"""Metrics against the protocol spelt out one query at a time in float64."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reid.domain.errors import EvaluationError
from reid.domain.ranking.distances import rank
from reid.domain.ranking.metrics import QueryScores, score_rankings, summarise
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport


def people(pids: Sequence[int], camids: Sequence[int]) -> EmbeddingSet:
    return EmbeddingSet(
        vectors=torch.zeros(len(pids), 1),
        pids=torch.tensor(pids, dtype=torch.int64),
        camids=torch.tensor(camids, dtype=torch.int64),
    )


@dataclass(frozen=True)
class Expected:
    average_precision: float
    inverse_negative_penalty: float
    first_match_rank: int
    num_matches: int


def score_naively(
    answers: Sequence[int],
    *,
    query: tuple[int, int],
    gallery: Sequence[tuple[int, int]],
    remove_same_camera: bool,
) -> Expected:
    """Follow Market-1501's evaluation for one query (pid, camid), item by item."""

    def is_junk(row: int) -> bool:
        return remove_same_camera and gallery[row] == query

    kept = [row for row in answers if row == -1 or not is_junk(row)]
    total = sum(person[0] == query[0] and not is_junk(row) for row, person in enumerate(gallery))
    ranks = [
        place for place, row in enumerate(kept, start=1) if row >= 0 and gallery[row][0] == query[0]
    ]
    precisions = [hits / place for hits, place in enumerate(ranks, start=1)]
    return Expected(
        average_precision=sum(precisions) / total if total else 0.0,
        inverse_negative_penalty=total / ranks[-1] if total and len(ranks) == total else 0.0,
        first_match_rank=ranks[0] if ranks else 0,
        num_matches=total,
    )


def report_of(scores: QueryScores, *, num_gallery: int, max_rank: int = 50) -> EvaluationReport:
    return summarise(
        scores,
        num_gallery=num_gallery,
        is_same_camera_removed=True,
        is_exact=True,
        index_recall=1.0,
        max_rank=max_rank,
    )


def assert_equal_scores(scores: QueryScores, expected: Sequence[Expected]) -> None:
    assert len(scores) == len(expected)
    for query, one in enumerate(expected):
        assert float(scores.average_precision[query]) == pytest.approx(one.average_precision)
        assert float(scores.inverse_negative_penalty[query]) == pytest.approx(
            one.inverse_negative_penalty
        )
        assert int(scores.first_match_rank[query]) == one.first_match_rank
        assert int(scores.num_matches[query]) == one.num_matches


@st.composite
def rankings(draw: st.DrawFn) -> tuple[EmbeddingSet, EmbeddingSet, Tensor]:
    """Few people and cameras, so that junk, absent people and several matches are common."""
    num_queries, num_gallery = draw(st.integers(1, 6)), draw(st.integers(1, 25))
    num_answers = draw(st.integers(1, num_gallery))
    persons = st.tuples(st.integers(0, 4), st.integers(0, 2))
    query = draw(st.lists(persons, min_size=num_queries, max_size=num_queries))
    gallery = draw(st.lists(persons, min_size=num_gallery, max_size=num_gallery))
    rows = [draw(st.permutations(range(num_gallery)))[:num_answers] for _ in range(num_queries)]
    num_lost = draw(st.integers(0, num_answers))
    ranking = torch.tensor(rows, dtype=torch.int64)
    if draw(st.booleans()):
        ranking[:, num_answers - num_lost :] = -1
    return people(*zip(*query, strict=True)), people(*zip(*gallery, strict=True)), ranking


@given(case=rankings(), remove_same_camera=st.booleans())
@settings(deadline=None)
def test_scores_equal_the_protocol_followed_item_by_item(
    case: tuple[EmbeddingSet, EmbeddingSet, Tensor], *, remove_same_camera: bool
) -> None:
    queries, gallery, ranking = case
    scores = score_rankings(
        ranking, queries=queries, gallery=gallery, remove_same_camera=remove_same_camera
    )
    persons = list(zip(gallery.pids.tolist(), gallery.camids.tolist(), strict=True))
    expected = [
        score_naively(
            ranking[query].tolist(),
            query=(int(queries.pids[query]), int(queries.camids[query])),
            gallery=persons,
            remove_same_camera=remove_same_camera,
        )
        for query in range(len(queries))
    ]
    assert_equal_scores(scores, expected)
    assert torch.equal(scores.is_valid, torch.tensor([one.num_matches > 0 for one in expected]))


@given(case=rankings())
@settings(deadline=None)
def test_query_chunks_give_the_scores_of_all_queries(
    case: tuple[EmbeddingSet, EmbeddingSet, Tensor],
) -> None:
    queries, gallery, ranking = case
    whole = score_rankings(ranking, queries=queries, gallery=gallery)
    parts = [
        score_rankings(
            ranking[row : row + 1],
            queries=people([int(queries.pids[row])], [int(queries.camids[row])]),
            gallery=gallery,
        )
        for row in range(len(queries))
    ]
    joined = QueryScores.concatenate(parts)
    assert torch.equal(joined.average_precision, whole.average_precision)
    assert torch.equal(joined.inverse_negative_penalty, whole.inverse_negative_penalty)
    assert torch.equal(joined.first_match_rank, whole.first_match_rank)
    assert torch.equal(joined.num_matches, whole.num_matches)


def test_a_worked_example() -> None:
    # Nearest first: other, junk, match, other, match. Without junk the matches stand at 2 and 4.
    gallery = people([2, 1, 1, 3, 1], [0, 0, 1, 1, 2])
    ranking = torch.tensor([[0, 1, 2, 3, 4]])
    scores = score_rankings(ranking, queries=people([1], [0]), gallery=gallery)
    assert scores.average_precision.tolist() == [(1 / 2 + 2 / 4) / 2]
    assert scores.inverse_negative_penalty.tolist() == [2 / 4]
    assert scores.first_match_rank.tolist() == [2]
    assert scores.num_matches.tolist() == [2]


def test_a_query_never_matches_its_own_camera() -> None:
    gallery = people([1, 1], [0, 1])
    scores = score_rankings(torch.tensor([[0, 1]]), queries=people([1], [0]), gallery=gallery)
    assert scores.first_match_rank.tolist() == [1]
    assert scores.num_matches.tolist() == [1]


def test_other_people_from_the_querys_camera_stay() -> None:
    gallery = people([2, 1], [0, 1])
    scores = score_rankings(torch.tensor([[0, 1]]), queries=people([1], [0]), gallery=gallery)
    assert scores.first_match_rank.tolist() == [2]


def test_without_the_rule_the_own_camera_counts() -> None:
    scores = score_rankings(
        torch.tensor([[0]]),
        queries=people([1], [0]),
        gallery=people([1], [0]),
        remove_same_camera=False,
    )
    assert scores.average_precision.tolist() == [1]


def test_matches_that_the_index_did_not_find_lower_the_precision() -> None:
    gallery = people([1, 2, 1], [1, 1, 2])
    scores = score_rankings(torch.tensor([[0, 1]]), queries=people([1], [0]), gallery=gallery)
    assert scores.average_precision.tolist() == [0.5]
    assert scores.inverse_negative_penalty.tolist() == [0]
    assert scores.num_matches.tolist() == [2]


def test_rows_not_found_match_nobody() -> None:
    scores = score_rankings(
        torch.tensor([[-1, -1]]), queries=people([1], [0]), gallery=people([1, 1], [1, 1])
    )
    assert scores.first_match_rank.tolist() == [0]
    assert scores.average_precision.tolist() == [0]


@pytest.mark.parametrize(
    "ranking", [[[0, 1, 2]], [[0], [1]], [[2]], [[-2]], [0]], ids=["K", "Q", "high", "low", "1-d"]
)
def test_a_ranking_that_does_not_fit_is_refused(ranking: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="ranking"):
        score_rankings(
            torch.tensor(ranking), queries=people([1], [0]), gallery=people([1, 1], [1, 1])
        )


def test_scores_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must be \(Q,\)"):
        QueryScores(torch.zeros(2), torch.zeros(2), torch.zeros(2), torch.zeros(3))


def scores_of(first_match_ranks: Sequence[int], num_matches: Sequence[int]) -> QueryScores:
    count = len(first_match_ranks)
    return QueryScores(
        average_precision=torch.arange(count, dtype=torch.float64) / 10,
        inverse_negative_penalty=torch.arange(count, dtype=torch.float64) / 20,
        first_match_rank=torch.tensor(first_match_ranks, dtype=torch.int64),
        num_matches=torch.tensor(num_matches, dtype=torch.int64),
    )


def test_the_report_averages_valid_queries_only() -> None:
    scores = scores_of([1, 0, 3, 0], [2, 0, 1, 1])
    report = report_of(scores, num_gallery=4)
    assert report.cmc == pytest.approx((1 / 3, 1 / 3, 2 / 3, 2 / 3))
    assert report.mean_average_precision == pytest.approx((0.0 + 0.2 + 0.3) / 3)
    assert report.mean_inverse_negative_penalty == pytest.approx((0.0 + 0.1 + 0.15) / 3)
    assert (report.num_queries, report.num_valid_queries, report.num_gallery) == (4, 3, 4)


def test_the_report_says_how_it_came_about() -> None:
    recipe = RerankingRecipe(k1=5, k2=2)
    report = summarise(
        scores_of([1], [1]),
        num_gallery=4,
        is_same_camera_removed=False,
        is_exact=False,
        index_recall=0.96,
        reranking=recipe,
    )
    assert (report.is_exact, report.index_recall) == (False, 0.96)
    assert not report.is_same_camera_removed
    assert report.reranking == recipe


@pytest.mark.parametrize(("num_gallery", "length"), [(3, 3), (50, 50), (51, 50), (9999, 50)])
def test_the_curve_is_as_long_as_the_gallery_up_to_fifty(num_gallery: int, length: int) -> None:
    assert len(report_of(scores_of([1], [1]), num_gallery=num_gallery).cmc) == length


def test_a_first_match_past_the_end_of_the_curve_is_not_on_it() -> None:
    report = report_of(scores_of([2, 3], [1, 1]), num_gallery=100, max_rank=2)
    assert report.cmc == (0.0, 0.5)


def test_a_gallery_that_the_rule_leaves_nearly_empty_can_be_scored() -> None:
    # The reference builds rows of 50 (here 3) places per query and fails on the shorter ones.
    gallery = people([1, 1, 1], [0, 0, 1])
    queries = people([1, 2], [0, 0])
    scores = score_rankings(torch.tensor([[0, 1, 2], [0, 1, 2]]), queries=queries, gallery=gallery)
    report = report_of(scores, num_gallery=3)
    assert report.cmc == (1.0, 1.0, 1.0)
    assert report.num_valid_queries == 1


def test_no_match_from_another_camera_is_explained_with_the_way_out() -> None:
    scores = score_rankings(torch.tensor([[0]]), queries=people([1], [0]), gallery=people([1], [0]))
    with pytest.raises(EvaluationError) as error:
        report_of(scores, num_gallery=1)
    for words in ("another camera", "evaluation.same_camera_rule = false"):
        assert words in str(error.value)


def test_no_match_at_all_is_not_blamed_on_the_rule() -> None:
    with pytest.raises(EvaluationError, match="check that query and gallery name the same people"):
        summarise(
            scores_of([0], [0]),
            num_gallery=1,
            is_same_camera_removed=False,
            is_exact=True,
            index_recall=1.0,
        )


def test_no_query_at_all_is_said() -> None:
    with pytest.raises(EvaluationError, match="no query image"):
        report_of(scores_of([], []), num_gallery=1)


@dataclass(frozen=True)
class Scene:
    """Distances without ties between random people."""

    values: Tensor
    queries: EmbeddingSet
    gallery: EmbeddingSet

    def report(self) -> EvaluationReport:
        scores = score_rankings(rank(self.values), queries=self.queries, gallery=self.gallery)
        return report_of(scores, num_gallery=len(self.gallery))


def scene(seed: int) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    num_queries, num_gallery = 12, 60
    order = torch.randperm(num_queries * num_gallery, generator=generator)

    def crowd(count: int) -> EmbeddingSet:
        pids = torch.randint(1, 6, (count,), generator=generator)
        camids = torch.randint(3, (count,), generator=generator)
        return people(pids.tolist(), camids.tolist())

    return Scene(order.float().view(num_queries, num_gallery), crowd(num_queries), crowd(60))


def reordered(persons: EmbeddingSet, order: Tensor) -> EmbeddingSet:
    return EmbeddingSet(persons.vectors[order], persons.pids[order], persons.camids[order])


def assert_equal_reports(one: EvaluationReport, other: EvaluationReport) -> None:
    assert one.cmc == pytest.approx(other.cmc)
    assert one.mean_average_precision == pytest.approx(other.mean_average_precision)
    assert one.mean_inverse_negative_penalty == pytest.approx(other.mean_inverse_negative_penalty)
    assert one.num_valid_queries == other.num_valid_queries


@given(seed=st.integers(0, 2**31), permutation=st.permutations(range(60)))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_gallery_does_not_matter(seed: int, permutation: list[int]) -> None:
    drawn, order = scene(seed), torch.tensor(permutation)
    moved = Scene(drawn.values[:, order], drawn.queries, reordered(drawn.gallery, order))
    assert_equal_reports(moved.report(), drawn.report())


@given(seed=st.integers(0, 2**31), permutation=st.permutations(range(12)))
@settings(deadline=None, max_examples=30)
def test_the_order_of_the_queries_does_not_matter(seed: int, permutation: list[int]) -> None:
    drawn, order = scene(seed), torch.tensor(permutation)
    moved = Scene(drawn.values[order], reordered(drawn.queries, order), drawn.gallery)
    assert_equal_reports(moved.report(), drawn.report())


@given(seed=st.integers(0, 2**31), exponent=st.integers(-20, 20))
@settings(deadline=None, max_examples=30)
def test_the_scale_of_the_distances_does_not_matter(seed: int, exponent: int) -> None:
    drawn = scene(seed)
    scaled = Scene(drawn.values * 2.0**exponent, drawn.queries, drawn.gallery)
    assert_equal_reports(scaled.report(), drawn.report())


@given(seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=30)
def test_the_curve_rises_and_stays_within_zero_and_one(seed: int) -> None:
    report = scene(seed).report()
    assert list(report.cmc) == sorted(report.cmc)
    assert 0 <= report.cmc[0] <= report.cmc[-1] <= 1
    assert 0 <= report.mean_inverse_negative_penalty <= 1
    assert 0 <= report.mean_average_precision <= 1
