"""Maps by t-SNE, of scikit-learn.

Van der Maaten 2014, JMLR 15, 3221-3245 (Barnes-Hut). It begins with principal components, as Kobak
& Berens 2019 (doi:10.1038/s41467-019-13056-x) advise.

Letters: N vectors, D width.
"""

from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from reid.domain.values.analyses import MapLayout

_SEEDS = 2**32
"""scikit-learn takes seeds below."""


def lay_out_by_tsne(vectors: Tensor, *, perplexity: float, seed: int) -> MapLayout:
    """Lay vectors out by t-SNE, on one thread.

    More threads may add up in another order, and for the hundreds of vectors of a sample they wait
    for each other longer than they work: 600 took 6 s on one thread of two busy cores, 51 s on two.

    Args:
        vectors: (N, D) float on the CPU.
        perplexity: About how many neighbours each vector minds; at most a third of the others.
        seed: Of what scikit-learn draws.

    Returns:
        N places; one and the same where all vectors are equal.
    """
    minded = min(perplexity, (len(vectors) - 1) / 3)
    method = f"t-SNE of scikit-learn, perplexity {minded:.3g}, from principal components"
    if bool((vectors == vectors[0]).all()):  # their first component would be divided by 0
        return MapLayout(places=((0.0, 0.0),) * len(vectors), method=method)
    tsne = TSNE(perplexity=minded, init="pca", random_state=seed % _SEEDS)
    with threadpool_limits(limits=1):
        places = tsne.fit_transform(vectors.double().numpy())  # (N, 2)
    return MapLayout(places=tuple((x, y) for x, y in places.tolist()), method=method)
