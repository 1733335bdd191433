"""Several images of a person as one."""

import math
from collections import defaultdict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reid.domain.ranking.fusion import (
    RankedIdentities,
    mean_directions,
    rank_by_best,
    rank_by_mean,
    rank_by_vote,
)
from reid.domain.values.open_set import Fusion, FusionRecipe
from tests.vectors import unit_vectors


def answers_of(similarities: list[float]) -> Tensor:
    return torch.tensor(similarities, dtype=torch.float32)


def as_pairs(ranked: RankedIdentities) -> list[tuple[int, float]]:
    return list(zip(ranked.people.tolist(), ranked.similarities.tolist(), strict=True))


nearest = st.lists(st.tuples(st.integers(0, 5), st.integers(-10, 10)), min_size=1, max_size=30)
"""Images of people at similarities in tenths, so that ties occur."""


def test_a_group_points_where_its_vectors_point_on_average() -> None:
    vectors, groups = unit_vectors(7), [2, 0, 2, 1, 0, 2, 1]
    fused = mean_directions(vectors, torch.tensor(groups), num_groups=3)
    for group in range(3):
        rows = [
            vectors[row].double().tolist() for row, owner in enumerate(groups) if owner == group
        ]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        norm = math.sqrt(sum(value * value for value in mean))
        assert fused[group].tolist() == pytest.approx([value / norm for value in mean], abs=1e-6)


def test_a_group_of_one_keeps_its_vector() -> None:
    vectors = unit_vectors(4)
    assert torch.allclose(mean_directions(vectors, torch.arange(4), num_groups=4), vectors)


def test_vectors_that_cancel_each_other_leave_the_first() -> None:
    vector = unit_vectors(1)
    fused = mean_directions(torch.cat([vector, -vector]), torch.zeros(2).long(), num_groups=1)
    assert torch.allclose(fused, vector)


@pytest.mark.parametrize(("groups", "num_groups"), [([0, 2], 3), ([0, 1], 3), ([0, 3], 3)])
def test_a_group_without_a_vector_is_refused(groups: list[int], num_groups: int) -> None:
    with pytest.raises(ValueError, match="3 groups"):
        mean_directions(unit_vectors(2), torch.tensor(groups), num_groups=num_groups)


@given(nearest)
def test_the_best_image_speaks_for_its_person(images: list[tuple[int, int]]) -> None:
    people, tenths = zip(*images, strict=True)
    best: dict[int, float] = {}
    for person, tenth in images:
        best[person] = max(best.get(person, -math.inf), tenth / 10)
    ranked = as_pairs(rank_by_best(answers_of([t / 10 for t in tenths]), torch.tensor(people)))
    assert dict(ranked) == pytest.approx(best)
    assert len(ranked) == len(best)
    scores = [similarity for _, similarity in ranked]
    assert scores == sorted(scores, reverse=True)


def test_equally_good_people_stay_in_the_order_given() -> None:
    ranked = rank_by_best(answers_of([0.5, 0.5, 0.4]), torch.tensor([7, 3, 7]))
    assert ranked.people.tolist() == [7, 3]


def test_people_are_ranked_by_the_cosine_to_their_mean() -> None:
    query, directions = unit_vectors(1, seed=1)[0], unit_vectors(6)
    cosines = {
        10 + row: sum(a * b for a, b in zip(query.tolist(), directions[row].tolist(), strict=True))
        for row in range(6)
    }
    ranked = as_pairs(rank_by_mean(query, torch.arange(10, 16), directions))
    assert [person for person, _ in ranked] == sorted(cosines, key=lambda p: -cosines[p])
    assert dict(ranked) == pytest.approx(cosines, abs=1e-6)


@given(nearest, st.integers(1, 12), st.sampled_from([0.02, 0.07, 1.0]))
def test_votes_are_those_of_a_plain_count(
    images: list[tuple[int, int]], votes: int, temperature: float
) -> None:
    images = sorted(images, key=lambda image: -image[1])
    totals: defaultdict[int, float] = defaultdict(float)
    best: dict[int, float] = {}
    top = images[0][1] / 10
    for rank, (person, tenth) in enumerate(images):
        totals[person] += math.exp((tenth / 10 - top) / temperature) if rank < votes else 0.0
        best.setdefault(person, tenth / 10)
    people = torch.tensor([person for person, _ in images])
    similarities = answers_of([tenth / 10 for _, tenth in images])
    ranked = rank_by_vote(similarities, people, votes=votes, temperature=temperature)
    assert dict(as_pairs(ranked)) == pytest.approx(best)
    found = [totals[person] for person in ranked.people.tolist()]
    assert found == pytest.approx(sorted(totals.values(), reverse=True), rel=1e-4)


def test_two_near_images_outvote_a_nearer_one() -> None:
    similarities, people = answers_of([0.80, 0.79, 0.78, 0.1]), torch.tensor([4, 9, 9, 2])
    ranked = rank_by_vote(similarities, people, votes=3, temperature=0.07)
    assert ranked.people.tolist() == [9, 4, 2]
    assert ranked.similarities.tolist() == pytest.approx([0.79, 0.80, 0.1])


def test_one_vote_is_the_best_image() -> None:
    similarities, people = answers_of([0.80, 0.79, 0.78]), torch.tensor([4, 9, 9])
    ranked = rank_by_vote(similarities, people, votes=1, temperature=0.07)
    assert as_pairs(ranked) == as_pairs(rank_by_best(similarities, people))


def test_what_a_calibration_was_made_for_is_told_apart() -> None:
    recipes = [
        FusionRecipe(),
        FusionRecipe(fusion=Fusion.MEAN),
        FusionRecipe(fusion=Fusion.VOTE),
        FusionRecipe(fusion=Fusion.VOTE, votes=9),
    ]
    names = [
        recipe.words(are_tracklets=tracklets) for recipe in recipes for tracklets in (False, True)
    ]
    assert names[:2] == ["best", "best, tracklets"]
    assert len(set(names)) == 8


@pytest.mark.parametrize(
    ("constants", "problem"),
    [({"votes": 0}, "votes"), ({"temperature": 0.0}, "temperature"),
     ({"temperature": math.nan}, "temperature")],
)  # fmt: skip
def test_a_fusion_without_a_meaning_is_refused(constants: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FusionRecipe(**constants)
