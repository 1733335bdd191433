"""CLIP-ReID's ResNet and its stage 2 once more, plainly, from the method's description alone.

It imports nothing of `reid`, saves no work, and runs in the type of its inputs: in float64 it gives
the values that every float32 program comes near to. Parameters are named as in the official code.

Letters: B batch, C identities or channels, D width, H W pixels, h w grid, P = h * w positions.
"""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

STRIDES = (1, 2, 2, 1)
"""CLIP's own last stride is 2."""

HEAD_WIDTH = 64
BATCH_NORM_EPSILON = 1e-5
SMALLEST_SQUARED_DISTANCE = 1e-12
MARGIN = 0.3
SMOOTHING = 0.1

Parameters = dict[str, Tensor]


def parameters_from(
    clip: Mapping[str, npt.NDArray[Any]], heads: Mapping[str, Tensor], *, grid: tuple[int, int]
) -> Parameters:
    """Collect what stage 2 trains, in float64.

    Args:
        clip: CLIP's weights in OpenAI's layout.
        heads: Classifiers and BNNecks; what else there is of them is left out.
        grid: Of the last map, onto which the positions are stretched.
    """
    parameters = {
        "image_encoder." + name.removeprefix("visual."): torch.tensor(value).double()
        for name, value in clip.items()
        if name.startswith("visual.") and not name.endswith(("running_mean", "running_var"))
    }
    parameters = {name: value for name, value in parameters.items() if "num_batches" not in name}
    name = "image_encoder.attnpool.positional_embedding"
    parameters[name] = stretch(parameters[name], grid)
    for name in ("classifier", "classifier_proj", "bottleneck", "bottleneck_proj"):
        parameters[f"{name}.weight"] = heads[f"{name}.weight"].double()
    return parameters


def stretch(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize all rows but the first, bilinearly with half-pixel centres: (1 + P, D) both."""
    side = round((len(positions) - 1) ** 0.5)
    cells = positions[1:].reshape(side, side, -1)  # (g, g, D)
    down, across = (line(side, length).to(cells) for length in grid)
    cells = torch.einsum("yi,xj,ijd->yxd", down, across, cells)
    return torch.cat([positions[:1], cells.flatten(0, 1)])


def line(source: int, target: int) -> Tensor:
    """Build the (target, source) matrix of linear interpolation along one axis."""
    matrix = torch.zeros(target, source, dtype=torch.float64)
    for row in range(target):
        place = min(max((row + 0.5) * source / target - 0.5, 0), source - 1)
        below = min(int(place), source - 2)
        matrix[row, below] = below + 1 - place
        matrix[row, below + 1] = place - below
    return matrix


def normalise(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Normalise (B, C) or (B, C, H, W) by the batch's own statistics."""
    axes = [axis for axis in range(values.ndim) if axis != 1]
    shape = [-1 if axis == 1 else 1 for axis in range(values.ndim)]
    variance, mean = torch.var_mean(values, dim=axes, correction=0, keepdim=True)
    normed = (values - mean) / (variance + BATCH_NORM_EPSILON).sqrt() * weight.view(shape)
    return normed if bias is None else normed + bias.view(shape)


def convolve(values: Tensor, part: Parameters, number: int, *, stride: int = 1) -> Tensor:
    """Run convolution and batch normalisation `number` of a part: (B, C, H, W) both."""
    kernel = part[f"conv{number}.weight"]
    values = F.conv2d(values, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    return normalise(values, part[f"bn{number}.weight"], part[f"bn{number}.bias"])


def below(parameters: Parameters, prefix: str) -> Parameters:
    """Take the parameters of one part, named as it names them."""
    return {
        name.removeprefix(prefix): value
        for name, value in parameters.items()
        if name.startswith(prefix)
    }


def run_bottleneck(values: Tensor, part: Parameters, *, stride: int) -> Tensor:
    """Run one residual block; a stride is an average pool, in the shortcut too."""
    inner = convolve(values, part, 1).relu()
    inner = convolve(inner, part, 2).relu()
    inner = convolve(F.avg_pool2d(inner, stride), part, 3)
    if "downsample.0.weight" in part:
        values = F.conv2d(F.avg_pool2d(values, stride), part["downsample.0.weight"])
        values = normalise(values, part["downsample.1.weight"], part["downsample.1.bias"])
    return (inner + values).relu()


def pool_by_attention(maps: Tensor, part: Parameters) -> Tensor:
    """Let all positions and their mean ask all others, and keep the mean's answer: (B, E)."""
    cells = maps.flatten(2).transpose(1, 2)  # (B, P, D)
    tokens = torch.cat([cells.mean(dim=1, keepdim=True), cells], dim=1)
    tokens = tokens + part["positional_embedding"]
    shape = (-1, HEAD_WIDTH)
    projected = [
        F.linear(tokens, part[f"{name}_proj.weight"], part[f"{name}_proj.bias"]) for name in "qkv"
    ]
    # (B, heads, 1 + P, HEAD_WIDTH) each
    queries, keys, values = (torch.unflatten(each, 2, shape).transpose(1, 2) for each in projected)
    shares = (queries @ keys.transpose(2, 3) / HEAD_WIDTH**0.5).softmax(dim=3)
    answers = (shares @ values).transpose(1, 2).flatten(2)  # (B, 1 + P, D)
    return F.linear(answers, part["c_proj.weight"], part["c_proj.bias"])[:, 0]


def features_of(images: Tensor, parameters: Parameters) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the features of layers 3 and 4 and the pooled token: (B, D) each."""
    encoder = below(parameters, "image_encoder.")
    values = convolve(images, encoder, 1, stride=2).relu()
    values = convolve(values, encoder, 2).relu()
    values = F.avg_pool2d(convolve(values, encoder, 3).relu(), 2)
    averages = []
    for layer, stride in enumerate(STRIDES, start=1):
        num_blocks = len(
            {name.split(".")[1] for name in encoder if name.startswith(f"layer{layer}.")}
        )
        for block in range(num_blocks):
            part = below(encoder, f"layer{layer}.{block}.")
            values = run_bottleneck(values, part, stride=stride if block == 0 else 1)
        averages.append(values.mean(dim=(2, 3)))
    return averages[2], averages[3], pool_by_attention(values, below(encoder, "attnpool."))


def smoothed_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Classify (B, C) scores; a tenth of the target is spread over all identities."""
    targets = F.one_hot(labels, scores.shape[1]).to(scores)
    targets = (1 - SMOOTHING) * targets + SMOOTHING / scores.shape[1]
    return -(targets * scores.log_softmax(dim=1)).sum(dim=1).mean()


def triplet_loss(features: Tensor, labels: Tensor) -> Tensor:
    """Compare each row's farthest row of its own label with its nearest of another."""
    squares = features.square().sum(dim=1)
    squared = squares[:, None] + squares - 2 * features @ features.T
    distances = squared.clamp(min=SMALLEST_SQUARED_DISTANCE).sqrt()  # (B, B)
    is_same = labels[:, None] == labels
    farthest = distances.masked_fill(~is_same, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(is_same, torch.inf).amin(dim=1)
    return (farthest - nearest + MARGIN).relu().mean()


def stage_two_loss(images: Tensor, labels: Tensor, texts: Tensor, parameters: Parameters) -> Tensor:
    """Add up identity, triplet and image-to-text losses, all weights 1 as for ResNets.

    Args:
        images: (B, 3, H, W).
        labels: (B,) int64.
        texts: (C, E) features of the identities' prompts.
        parameters: What is trained.
    """
    third, fourth, pooled = features_of(images, parameters)
    scores = [
        normalise(fourth, parameters["bottleneck.weight"]) @ parameters["classifier.weight"].T,
        normalise(pooled, parameters["bottleneck_proj.weight"])
        @ parameters["classifier_proj.weight"].T,
        pooled @ texts.T,
    ]
    terms = [smoothed_cross_entropy(given, labels) for given in scores]
    terms += [triplet_loss(level, labels) for level in (third, fourth, pooled)]
    return torch.stack(terms).sum()


def gradient_norms(
    images: Tensor, labels: Tensor, texts: Tensor, parameters: Parameters
) -> dict[str, float]:
    """Compute the Euclidean norm of the loss's gradient in every parameter."""
    leaves = {name: value.detach().requires_grad_() for name, value in parameters.items()}
    gradients = torch.autograd.grad(
        stage_two_loss(images, labels, texts, leaves), list(leaves.values())
    )
    return {
        name: gradient.double().norm().item()
        for name, gradient in zip(leaves, gradients, strict=True)
    }
