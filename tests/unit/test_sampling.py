from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.domain.seeding import generator_for
from reid.domain.training.sampling import Draws, pk_batches, shuffled_batches

SEEDS = st.integers(0, 10_000)
LABELS = st.lists(st.integers(0, 8), min_size=1, max_size=60)


class FirstDraws(Draws):
    """Draws without chance: the first items, in the order in which they stand."""

    def __init__(self) -> None:
        """Need no generator."""

    def choose(self, items: Sequence[int], count: int) -> list[int]:
        return [items[i % len(items)] for i in range(count)]

    def shuffle(self, items: list[int]) -> None:
        pass

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        return list(items[:count])


def draws(seed: int) -> Draws:
    return Draws(generator_for(seed))


def test_batches_follow_the_documented_procedure_where_chance_is_removed() -> None:
    labels = [7, 7, 7, 7, 7, 5, 3, 3, 3]
    batches = pk_batches(
        labels,
        num_identities=2,
        images_per_identity=2,
        draws=FirstDraws(),
    )
    # Groups: 7 -> [0 1] [2 3] and 4 is left out; 5 -> [5 5]; 3 -> [6 7] and 8 is left out.
    assert batches == [[0, 1, 5, 5], [2, 3, 6, 7]]


@settings(deadline=None)
@given(labels=LABELS, num_identities=st.integers(1, 5), size=st.integers(1, 4), seed=SEEDS)
def test_every_batch_has_p_identities_with_k_images_each(
    labels: list[int], num_identities: int, size: int, seed: int
) -> None:
    if len(set(labels)) < num_identities:
        return
    batches = pk_batches(
        labels, num_identities=num_identities, images_per_identity=size, draws=draws(seed)
    )
    assert batches
    for batch in batches:
        assert len(batch) == num_identities * size
        groups = [batch[start : start + size] for start in range(0, len(batch), size)]
        owners = [{labels[row] for row in group} for group in groups]
        assert all(len(owner) == 1 for owner in owners)
        assert len(set.union(*owners)) == num_identities


@settings(deadline=None)
@given(labels=LABELS, num_identities=st.integers(1, 3), size=st.integers(1, 4), seed=SEEDS)
def test_only_identities_with_too_few_images_repeat_any(
    labels: list[int], num_identities: int, size: int, seed: int
) -> None:
    if len(set(labels)) < num_identities:
        return
    batches = pk_batches(
        labels, num_identities=num_identities, images_per_identity=size, draws=draws(seed)
    )
    owned = Counter(labels)
    uses = Counter(row for batch in batches for row in batch)
    for row, count in uses.items():
        if owned[labels[row]] >= size:
            assert count == 1


@settings(deadline=None)
@given(labels=LABELS, num_identities=st.integers(1, 4), size=st.integers(1, 4), seed=SEEDS)
def test_an_epoch_ends_only_when_fewer_than_p_identities_have_images_left(
    labels: list[int], num_identities: int, size: int, seed: int
) -> None:
    if len(set(labels)) < num_identities:
        return
    batches = pk_batches(
        labels, num_identities=num_identities, images_per_identity=size, draws=draws(seed)
    )
    groups = {label: max(count // size, 1) for label, count in Counter(labels).items()}
    for batch in batches:
        for row in batch[::size]:
            groups[labels[row]] -= 1
    assert min(groups.values()) >= 0
    assert sum(left > 0 for left in groups.values()) < num_identities


@settings(deadline=None)
@given(labels=LABELS, seed=SEEDS)
def test_renaming_identities_leaves_the_batches_alone(labels: list[int], seed: int) -> None:
    renamed = [100 - 7 * label for label in labels]
    one, other = (
        pk_batches(names, num_identities=1, images_per_identity=2, draws=draws(seed))
        for names in (labels, renamed)
    )
    assert one == other


def test_the_same_generator_gives_the_same_epoch_and_another_seed_another() -> None:
    labels = [label for label in range(20) for _ in range(9)]
    one, same, other = (
        pk_batches(labels, num_identities=4, images_per_identity=4, draws=draws(seed))
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_every_image_has_its_chance() -> None:
    labels = [0] * 5 + [1] * 3 + [2]
    source = draws(3)
    seen = {
        row
        for _ in range(30)
        for batch in pk_batches(labels, num_identities=2, images_per_identity=2, draws=source)
        for row in batch
    }
    assert seen == set(range(9))


def test_too_few_identities_are_refused_with_both_numbers() -> None:
    with pytest.raises(ValueError, match="16 identities cannot be filled from 2"):
        pk_batches([0, 0, 1, 1], num_identities=16, images_per_identity=4, draws=draws(0))


@pytest.mark.parametrize(("num_identities", "size"), [(0, 4), (4, 0)])
def test_empty_batches_are_refused(num_identities: int, size: int) -> None:
    with pytest.raises(ValueError, match=f"got P={num_identities}, K={size}"):
        pk_batches([0, 1], num_identities=num_identities, images_per_identity=size, draws=draws(0))


@st.composite
def seen(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Labels and cameras of the same images."""
    images = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), min_size=1))
    return [label for label, _ in images], [camid for _, camid in images]


def groups_of(
    labels: Sequence[int], camids: Sequence[int], *, size: int, draws: Draws
) -> dict[int, list[list[int]]]:
    """Each identity's groups, from batches of a single identity."""
    groups: dict[int, list[list[int]]] = {label: [] for label in labels}
    for batch in pk_batches(
        labels, num_identities=1, images_per_identity=size, draws=draws, camids=camids
    ):
        groups[labels[batch[0]]].append(batch)
    return groups


def test_cameras_are_spread_as_documented_where_chance_is_removed() -> None:
    labels = [1] * 9 + [2] * 3
    camids = [0, 0, 0, 0, 0, 0, 3, 5, 5, 4, 4, 7]
    groups = groups_of(labels, camids, size=4, draws=FirstDraws())
    # 1: the round robin 0 6 7, 1 8, 2, 3, 4, 5 leaves 5 out; 0 1 2 3 4, 6, 7 8 are dealt to two.
    # 2: 9 11, 10 begins again with 9; sorted by camera, all stand in one group.
    assert groups == {1: [[0, 2, 4, 7], [1, 3, 6, 8]], 2: [[9, 10, 9, 11]]}


@settings(deadline=None)
@given(images=seen(), size=st.integers(1, 6), seed=SEEDS)
def test_as_many_cameras_as_possible_meet_in_the_groups(
    images: tuple[list[int], list[int]], size: int, seed: int
) -> None:
    labels, camids = images
    for label, groups in groups_of(labels, camids, size=size, draws=draws(seed)).items():
        owned = Counter(c for own, c in zip(labels, camids, strict=True) if own == label)
        # A camera counts once in a group, and stands in no more groups than it has images.
        bound = sum(min(count, len(groups)) for count in owned.values())
        covered = sum(len({camids[row] for row in group}) for group in groups)
        assert covered == min(bound, len(groups) * size)


@settings(deadline=None)
@given(images=seen(), num_identities=st.integers(1, 3), size=st.integers(1, 6), seed=SEEDS)
def test_batches_across_cameras_are_pk_batches_of_as_many_groups(
    images: tuple[list[int], list[int]], num_identities: int, size: int, seed: int
) -> None:
    labels, camids = images
    if len(set(labels)) < num_identities:
        return
    plain, spread = (
        pk_batches(
            labels,
            num_identities=num_identities,
            images_per_identity=size,
            draws=draws(seed),
            camids=given_,
        )
        for given_ in (None, camids)
    )
    owned, uses = Counter(labels), Counter(row for batch in spread for row in batch)
    for batch in spread:
        owners = [
            {labels[row] for row in batch[at : at + size]} for at in range(0, len(batch), size)
        ]
        assert len(set.union(*owners)) == num_identities == len(owners) == len(batch) // size
    assert all(uses[row] <= -(-size // owned[labels[row]]) for row in uses)
    if num_identities == 1:
        assert len(spread) == len(plain)


def test_every_image_has_its_chance_across_cameras_too() -> None:
    labels, camids = [0] * 7, [0, 0, 0, 0, 0, 1, 2]
    source, counts = draws(3), Counter[int]()
    for _ in range(600):
        for batch in pk_batches(
            labels, num_identities=1, images_per_identity=4, draws=source, camids=camids
        ):
            counts.update(batch)
    assert counts[5] == counts[6] == 600
    assert all(180 < counts[row] < 300 for row in range(5))


def test_the_same_generator_gives_the_same_epoch_across_cameras() -> None:
    labels = [label for label in range(20) for _ in range(9)]
    camids = [row % 4 for row in range(len(labels))]
    one, same, other = (
        pk_batches(
            labels, num_identities=4, images_per_identity=4, draws=draws(seed), camids=camids
        )
        for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_choosing_draws_with_replacement_and_uniformly() -> None:
    counts = Counter(draws(1).choose([10, 20, 30], 3000))
    assert set(counts) == {10, 20, 30}
    assert all(900 < count < 1100 for count in counts.values())


def test_shuffling_reaches_every_order_equally_often() -> None:
    source = draws(2)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(1200):
        items = [1, 2, 3]
        source.shuffle(items)
        counts[tuple(items)] += 1
    assert len(counts) == 6
    assert all(150 < count < 250 for count in counts.values())


@settings(deadline=None)
@given(count=st.integers(0, 10), seed=SEEDS)
def test_a_sample_never_repeats_an_item(count: int, seed: int) -> None:
    taken = draws(seed).sample(range(10), count)
    assert len(taken) == len(set(taken)) == count
    assert set(taken) <= set(range(10))


@settings(deadline=None)
@given(num_samples=st.integers(1, 300), batch_size=st.integers(1, 70), seed=SEEDS)
def test_every_image_stands_in_one_batch_and_no_batch_is_empty(
    num_samples: int, batch_size: int, seed: int
) -> None:
    batches = shuffled_batches(num_samples, batch_size, generator_for(seed))
    assert sorted(torch.cat(batches).tolist()) == list(range(num_samples))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch_size


def test_shuffled_batches_are_in_another_order_each_epoch() -> None:
    one, same, other = (
        torch.cat(shuffled_batches(100, 16, generator_for(0, "epoch", epoch)))
        for epoch in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize(("num_samples", "batch_size"), [(0, 4), (4, 0)])
def test_nothing_to_arrange_is_refused(num_samples: int, batch_size: int) -> None:
    with pytest.raises(ValueError, match=f"{num_samples} samples in batches of {batch_size}"):
        shuffled_batches(num_samples, batch_size, generator_for(0))
