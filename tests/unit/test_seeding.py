import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reid.domain.seeding import generator_for


def draw(generator: torch.Generator) -> list[float]:
    numbers: list[float] = torch.rand(4, generator=generator).tolist()
    return numbers


@settings(deadline=None)
@given(seed=st.integers(0, 2**63), words=st.lists(st.text() | st.integers(), max_size=3))
def test_the_same_seed_and_purpose_draw_the_same(seed: int, words: list[str | int]) -> None:
    assert draw(generator_for(seed, *words)) == draw(generator_for(seed, *words))


def test_what_was_drawn_before_does_not_matter() -> None:
    expected = draw(generator_for(5, "batches", 2))
    torch.rand(10)
    draw(generator_for(5, "batches", 1))
    assert draw(generator_for(5, "batches", 2)) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1, "a"), (2, "a")),
        ((1, "a"), (1, "b")),
        ((1, "a", 1), (1, "a", 2)),
        ((1, "a", 1), (1, "a", "1")),
        ((1, "ab", "c"), (1, "a", "bc")),
        ((1, "a", "b"), (1, "a")),
        ((11,), (1, 1)),
    ],
)
def test_different_seeds_or_purposes_draw_differently(
    one: tuple[int, *tuple[str | int, ...]], other: tuple[int, *tuple[str | int, ...]]
) -> None:
    assert draw(generator_for(*one)) != draw(generator_for(*other))


def test_the_seed_of_a_purpose_never_changes_between_versions() -> None:
    assert generator_for(1234, "batches", 7).initial_seed() == SEED_OF_BATCHES_7


SEED_OF_BATCHES_7 = 2398018907614821051


def test_a_thousand_epochs_get_a_thousand_seeds() -> None:
    # torch's CPU generator starts from the low 32 bits only: those must differ too.
    seeds = {generator_for(0, "epoch", epoch).initial_seed() % 2**32 for epoch in range(1000)}
    assert len(seeds) == 1000


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    draw(generator_for(3, "anything"))
    assert torch.equal(before, torch.get_rng_state())
