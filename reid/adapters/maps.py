"""Maps by scikit-learn's t-SNE.

Van der Maaten 2014, JMLR 15, 3221-3245 (Barnes-Hut), initialised by principal components, as Kobak
& Berens 2019 (doi:10.1038/s41467-019-13056-x) advise.

Letters: N vectors, D width.
"""

from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from torch import Tensor

from reid.domain.values.analyses import MapLayout

_SEEDS = 2**32  # scikit-learn takes smaller seeds


def lay_out_by_tsne(vectors: Tensor, *, perplexity: float, seed: int) -> MapLayout:
    """Lay vectors out by t-SNE, on one thread.

    More threads may sum in another order, and for a sample's few hundred vectors they are slower:
    600 took 6 s on one thread of two busy cores, 51 s on two.

    (N, D) float vectors on the CPU become N places, all the same where the vectors are equal.
    `perplexity`, the effective number of each one's neighbours, is at most a third of the others.
    """
    used = min(perplexity, (len(vectors) - 1) / 3)
    method = f"t-SNE of scikit-learn, perplexity {used:.3g}, from principal components"
    if bool((vectors == vectors[0]).all()):  # t-SNE would divide their first component by 0
        return MapLayout(places=((0.0, 0.0),) * len(vectors), method=method)
    tsne = TSNE(perplexity=used, init="pca", random_state=seed % _SEEDS)
    with threadpool_limits(limits=1):
        places = tsne.fit_transform(vectors.double().numpy())  # (N, 2)
    return MapLayout(places=tuple((x, y) for x, y in places.tolist()), method=method)
