"""What everything promises that lays out a map."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from reid.adapters.maps import lay_out_by_tsne
from reid.ports.pages import MapMaker
from tests.fakes.map_maker import FakeMapMaker

MAP_MAKERS: dict[str, MapMaker] = {
    "t-SNE": partial(lay_out_by_tsne, seed=1),
    "fake": FakeMapMaker(),
}


@pytest.fixture(params=list(MAP_MAKERS.values()), ids=list(MAP_MAKERS))
def map_maker(request: pytest.FixtureRequest) -> MapMaker:
    made: MapMaker = request.param
    return made


def drawn(count: int, width: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "vectors",
    [
        drawn(8, 2),
        drawn(40, 16),
        drawn(40, 16).double(),
        torch.ones(8, 3),
        drawn(4, 3).repeat(5, 1),
    ],
    ids=["few", "many", "float64", "all equal", "equal ones"],
)
def test_every_vector_has_a_finite_place(map_maker: MapMaker, vectors: Tensor) -> None:
    before = vectors.clone()
    layout = map_maker(vectors, perplexity=30.0)
    assert len(layout.places) == len(vectors)
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in layout.places)
    assert layout.method
    assert torch.equal(vectors, before)


def test_a_map_comes_out_the_same_again(map_maker: MapMaker) -> None:
    vectors = drawn(30, 8)
    assert map_maker(vectors, perplexity=5.0) == map_maker(vectors, perplexity=5.0)
