"""Maps by t-SNE, and what is said where scikit-learn is missing."""

import sys

import pytest
import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from reid.adapters.maps import lay_out_by_tsne
from reid.container.evaluation import lay_out_map


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_groups_that_are_apart_stay_apart_and_neighbours_together() -> None:
    groups = torch.arange(60) % 4
    vectors = 8 * drawn(4, 16, seed=3)[groups] + drawn(60, 16)
    places = torch.tensor(lay_out_by_tsne(vectors, perplexity=10.0, seed=1).places)
    distances = torch.cdist(places, places)  # (60, 60)
    same = groups[:, None] == groups[None, :]
    nearest = distances.fill_diagonal_(float("inf")).topk(14, largest=False).indices  # (60, 14)
    assert same.gather(1, nearest).all()


def test_the_method_names_the_perplexity_that_was_used() -> None:
    vectors = drawn(31, 4)
    assert "perplexity 10," in lay_out_by_tsne(vectors, perplexity=30.0, seed=1).method
    assert "perplexity 5," in lay_out_by_tsne(vectors, perplexity=5.0, seed=1).method


def test_any_seed_of_the_settings_is_taken() -> None:
    assert lay_out_by_tsne(drawn(12, 4), perplexity=3.0, seed=2**63 - 1).places


def test_threads_are_as_many_afterwards_as_before() -> None:
    def counts() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info()]

    before = counts()
    lay_out_by_tsne(drawn(12, 4), perplexity=3.0, seed=1)
    assert counts() == before


def test_with_scikit_learn_there_is_a_map() -> None:
    vectors = drawn(12, 4)
    expected = lay_out_by_tsne(vectors, perplexity=3.0, seed=7)
    assert lay_out_map(vectors, perplexity=3.0, seed=7) == expected


def test_without_scikit_learn_there_is_none_and_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "reid.adapters.maps")
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    layout = lay_out_map(drawn(12, 4), perplexity=3.0, seed=7)
    assert layout.places == ()
    assert layout.method.startswith("a map needs scikit-learn, which is installed (")
    assert "cannot be imported: ModuleNotFoundError: " in layout.method
    assert layout.method.endswith("pip install --upgrade 'clip-reid[plots]'")
