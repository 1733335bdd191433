"""Maps that are two columns of the vectors."""

from torch import Tensor

from reid.domain.values.analyses import MapLayout


class FakeMapMaker:
    def __init__(self, *, reason: str | None = None) -> None:
        self.reason = reason

    def __call__(self, vectors: Tensor, *, perplexity: float) -> MapLayout:
        if self.reason is not None:
            return MapLayout(places=(), method=self.reason)
        places = tuple((x, y) for x, y in vectors[:, :2].tolist())
        return MapLayout(places=places, method=f"two columns, perplexity {perplexity:g}")
