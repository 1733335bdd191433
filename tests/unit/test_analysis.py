"""What lies behind the averages, against plain loops in float64."""

from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from reid.domain.ranking import analysis
from reid.domain.ranking.analysis import (
    camera_pairs,
    choose_people,
    hardest_queries,
    similarity_histogram,
)
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.values.analyses import AnalysisRecipe
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.samples import Sample


def people(count: int, *, seed: int) -> EmbeddingSet:
    generator = torch.Generator().manual_seed(seed)
    pids = torch.randint(1, 6, (count,), generator=generator)
    centres = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(count, 5, generator=generator)
    return EmbeddingSet(
        vectors=F.normalize(centres[pids] + noise, dim=1),
        pids=pids,
        camids=torch.randint(0, 3, (count,), generator=generator),
    )


def samples_of(images: EmbeddingSet) -> list[Sample]:
    rows = zip(images.pids.tolist(), images.camids.tolist(), strict=True)
    return [Sample(str(row), pid, camid) for row, (pid, camid) in enumerate(rows)]


QUERIES, GALLERY = people(23, seed=1), people(61, seed=2)
LISTS = samples_of(QUERIES), samples_of(GALLERY)


def ranked(query: int, *, rule: bool, camera: int | None = None) -> list[int]:
    """Gallery rows in the order of their exact cosines, junk left out."""
    cosines = GALLERY.vectors.double() @ QUERIES.vectors[query].double()
    rows = sorted(range(len(GALLERY)), key=lambda row: (-float(cosines[row]), row))
    return [
        row
        for row in rows
        if (camera is None or GALLERY.camids[row] == camera)
        and not (
            rule
            and GALLERY.pids[row] == QUERIES.pids[query]
            and GALLERY.camids[row] == QUERIES.camids[query]
        )
    ]


def average_precision(query: int, rows: list[int]) -> float | None:
    hits, total = 0, 0.0
    for rank, row in enumerate(rows, start=1):
        if GALLERY.pids[row] == QUERIES.pids[query]:
            hits += 1
            total += hits / rank
    return total / hits if hits else None


@pytest.mark.parametrize("rule", [True, False])
def test_a_pair_of_cameras_is_scored_as_if_there_were_no_other(*, rule: bool) -> None:
    pairs = camera_pairs(QUERIES, GALLERY, remove_same_camera=rule)
    assert pairs.query_cameras == pairs.gallery_cameras == (0, 1, 2)
    for asked in range(3):
        for seen in range(3):
            scores = [
                found
                for query in range(len(QUERIES))
                if QUERIES.camids[query] == asked
                and (found := average_precision(query, ranked(query, rule=rule, camera=seen)))
                is not None
            ]
            assert pairs.num_queries[asked][seen] == len(scores)
            mean = pairs.mean_average_precision[asked][seen]
            if rule and asked == seen:
                assert mean is None
            else:
                assert mean == pytest.approx(sum(scores) / len(scores), abs=1e-12)


@pytest.mark.parametrize("rule", [True, False])
def test_similarities_are_counted_by_bins(*, rule: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "_ROWS_PER_STRETCH", 7)
    monkeypatch.setattr(analysis, "_STRETCH_LENGTH", 16)
    found = similarity_histogram(QUERIES, GALLERY, num_bins=20, remove_same_camera=rule)
    same, different = Counter[int](), Counter[int]()
    cosines = QUERIES.vectors.double() @ GALLERY.vectors.double().T
    for query in range(len(QUERIES)):
        for row in range(len(GALLERY)):
            place = min(int((float(cosines[query, row]) + 1) * 10), 19)
            if GALLERY.pids[row] != QUERIES.pids[query]:
                different[place] += 1
            elif not (rule and GALLERY.camids[row] == QUERIES.camids[query]):
                same[place] += 1
    assert found.same == tuple(same[n] for n in range(20))
    assert found.different == tuple(different[n] for n in range(20))
    assert found.edges == pytest.approx([-1 + n / 10 for n in range(21)])


def test_equal_and_opposite_vectors_are_in_the_outermost_bins() -> None:
    ends = EmbeddingSet(
        torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([1, 2]), torch.zeros(2)
    )
    found = similarity_histogram(ends, ends, num_bins=4, remove_same_camera=False)
    assert (found.same, found.different) == ((0, 0, 0, 2), (2, 0, 0, 0))


@pytest.mark.parametrize("rule", [True, False])
def test_the_hardest_queries_come_with_what_was_ranked_above_the_match(*, rule: bool) -> None:
    scores = score_embeddings(QUERIES, GALLERY, remove_same_camera=rule)
    found = hardest_queries(
        scores,
        queries=QUERIES,
        gallery=GALLERY,
        lists=LISTS,
        recipe=AnalysisRecipe(num_hardest=5, num_ranked=3),
        remove_same_camera=rule,
    )
    precisions = {
        query: precision
        for query in range(len(QUERIES))
        if (precision := average_precision(query, ranked(query, rule=rule))) is not None
    }
    hardest = sorted(precisions, key=lambda q: precisions[q])[:5]
    assert [one.name for one in found] == [str(query) for query in hardest]
    for query, one in zip(hardest, found, strict=True):
        rows = ranked(query, rule=rule)
        first = next(n for n, r in enumerate(rows) if GALLERY.pids[r] == QUERIES.pids[query])
        assert [image.name for image in one.above] == [str(r) for r in rows[: min(first, 3)]]
        assert one.match.name == str(rows[first])
        cosine = float(GALLERY.vectors[rows[first]] @ QUERIES.vectors[query])
        assert one.match.similarity == pytest.approx(cosine, abs=1e-6)


def test_a_query_without_a_match_is_no_hard_one() -> None:
    alone = EmbeddingSet(QUERIES.vectors[:2], torch.tensor([99, 1]), torch.tensor([7, 7]))
    scores = score_embeddings(alone, GALLERY)
    lists = samples_of(alone), LISTS[1]
    (only,) = hardest_queries(
        scores, queries=alone, gallery=GALLERY, lists=lists, recipe=AnalysisRecipe()
    )
    assert only.name == "1"


def test_a_sample_has_whole_people_from_all_of_the_list() -> None:
    queries, gallery = torch.tensor([1, 2, 3, 4, 5, 9]), torch.tensor([0, 5, 5, 5, 4, 3, 2, 1, 1])
    asked, known = choose_people(queries, gallery, num_identities=2, num_images=6)
    assert queries[asked].tolist() == [1, 3]
    assert gallery[known].tolist() == [3, 1, 1]
    asked, known = choose_people(queries, gallery, num_identities=9, num_images=10)
    assert queries[asked].tolist() == [1, 2, 3, 4, 5]
    assert gallery[known].tolist() == [5, 4, 3, 2, 1]


def test_of_lists_without_a_common_person_there_is_no_sample() -> None:
    asked, known = choose_people(
        torch.tensor([1]), torch.tensor([2]), num_identities=3, num_images=9
    )
    assert (len(asked), len(known)) == (0, 0)
