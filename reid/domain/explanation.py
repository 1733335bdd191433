"""Which regions of two images make them alike.

Letters: B batch, D width, A heads, L = 1 + P tokens, P = h * w cells, C channels, H W pixels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from reid.domain.values.explanations import Cells

_ALIKE = 1 - 1e-6  # cosine above which float32 cannot distinguish two vectors


def roll_out(attention: Sequence[Tensor]) -> Tensor:
    """Follow attention from the class token down to the patches.

    Abnar and Zuidema 2020, arXiv:2005.00928, section 3: heads averaged, half of every token's share
    given to itself for the residual connection, blocks multiplied.

    Args:
        attention: One (B, A, L, L) per block, first block first, rows summing to 1.

    Returns:
        (B, P) float, not negative.
    """
    first = attention[0]
    identity = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    reached = identity.expand(len(first), -1, -1)  # (B, L, L)
    for shares in attention:
        reached = (0.5 * shares.mean(dim=1) + 0.5 * identity) @ reached
    return reached[:, 0, 1:]


def roll_out_gradients(attention: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Follow attention that adds to a score from the class token down to the patches.

    Chefer et al. 2021, arXiv:2103.15679, eq. 5 and 6: in each block attention is multiplied by the
    score's gradient, negative values are dropped, heads averaged, and the result added to what the
    tokens have gathered so far.

    Args:
        attention: One (B, A, L, L) per block, first block first.
        gradients: Of the score, in the same shapes.

    Returns:
        (B, P) float, not negative.
    """
    first = attention[0]
    identity = torch.eye(first.shape[-1], dtype=first.dtype, device=first.device)
    relevance = identity.expand(len(first), -1, -1)  # (B, L, L)
    for shares, gradient in zip(attention, gradients, strict=True):
        adding = (gradient * shares).clamp(min=0).mean(dim=1)  # (B, L, L)
        relevance = relevance + adding @ relevance
    return relevance[:, 0, 1:]


def weigh_map(maps: Tensor, gradients: Tensor) -> Tensor:
    """Weigh the cells of a map by what their channels add to a score.

    Selvaraju et al. 2017, arXiv:1610.02391, eq. 1 and 2 (Grad-CAM).

    Args:
        maps: (B, C, h, w) float.
        gradients: Of the score, in the same shape.

    Returns:
        (B, P) float, not negative.
    """
    weights = gradients.mean(dim=(2, 3))  # (B, C)
    return torch.einsum("bc,bchw->bhw", weights, maps).clamp(min=0).flatten(1)


def score_pair(embeddings: Tensor) -> Tensor:
    """Score two images by their cosine, whose gradient is what is explained.

    For equal images the cosine's gradient vanishes, since nothing makes them more alike. Then the
    lengths of both vectors are held fixed: the value is the same, the gradient the inner product's.

    Args:
        embeddings: (2, D) float, not normalised.

    Returns:
        () float, differentiable in `embeddings`.
    """
    first, second = embeddings
    lengths = first.norm() * second.norm()
    cosine: Tensor = first @ second / lengths
    if cosine < _ALIKE:
        return cosine
    aligned: Tensor = first @ second / lengths.detach()
    return aligned


def spread_over_pixels(weights: Tensor, *, cells: Cells, height: int, width: int) -> Tensor:
    """Turn weights of cells into weights of pixels, linear between the cells' centres.

    Args:
        weights: (B, P) float.
        cells: Where they lie.
        height: H.
        width: W.

    Returns:
        (B, H, W) float; 0 at pixels that lie in no cell.
    """
    grid = weights.reshape(-1, cells.rows, cells.columns)  # (B, h, w)
    down = _interpolation(cells.rows, length=height, cells=cells).to(grid)  # (H, h)
    along = _interpolation(cells.columns, length=width, cells=cells).to(grid)  # (W, w)
    spread: Tensor = down @ grid @ along.T
    return spread


def _interpolation(count: int, *, length: int, cells: Cells) -> Tensor:
    """Weigh the cells of one axis at each of its pixels: (length, count), rows summing to 1 or 0.

    Beyond the first and last centre the nearest cell counts alone.
    """
    pixels = torch.arange(length, dtype=torch.float64) + 0.5
    places = ((pixels - cells.extent / 2) / cells.stride).clamp(0, count - 1)
    distances = (places[:, None] - torch.arange(count, dtype=torch.float64)).abs()
    seen = pixels < (count - 1) * cells.stride + cells.extent
    return (1 - distances).clamp(min=0) * seen[:, None]


def mask_pixels(images: Tensor, weights: Tensor, *, share: float) -> Tensor:
    """Mask the pixels of the largest weights.

    Args:
        images: (B, 3, H, W) float, normalised: 0 is the mean colour, which masked pixels get.
        weights: (B, H, W) float.
        share: Share of pixels to mask, in 0..1; among equal weights the first ones are masked.

    Returns:
        (B, 3, H, W) copies.
    """
    flat = weights.flatten(1)
    count = round(share * flat.shape[1])
    largest = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    kept = torch.ones_like(flat).scatter(1, largest, 0.0).view_as(weights)
    return images * kept[:, None]
