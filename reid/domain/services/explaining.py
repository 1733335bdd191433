"""Find and test what made two images alike.

Letters: B batch, D width, h w grid, P = h * w cells, H W pixels.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import ConfigurationError
from reid.domain.explanation import (
    mask_pixels,
    roll_out,
    roll_out_gradients,
    score_pair,
    spread_over_pixels,
    weigh_map,
)
from reid.domain.seeding import generator_for
from reid.domain.training.augmentation import normalise
from reid.domain.transfers import to_device
from reid.domain.values.explanations import (
    AttentionTrace,
    Cells,
    DeletionCheck,
    ExplainedImage,
    Explanation,
    ExplanationMethod,
    ImageTrace,
    MapTrace,
)
from reid.domain.values.samples import ImageSize, ListedImage, Resampling
from reid.ports.dataset import ImageReader
from reid.ports.explanation import ExplainableEncoder

NUM_DRAWS = 8
"""Random masks in a deletion check."""

SHOWN_HEIGHT = 384
"""Pixels at least, of the images to be shown."""

_METHODS_OF: Mapping[type[ImageTrace], tuple[ExplanationMethod, ...]] = {
    AttentionTrace: (ExplanationMethod.GRADIENT_ROLLOUT, ExplanationMethod.ROLLOUT),
    MapTrace: (ExplanationMethod.GRAD_CAM,),
}
"""What suits each kind of encoder, the best first."""

_TIE_BREAK = 1e-6
"""Of the largest weight: decides between pixels of the same weight, by chance and not by place."""


class PairExplainer:
    """Explains the similarity of pairs, and tests each explanation on the pair itself."""

    def __init__(
        self,
        *,
        encoder: ExplainableEncoder,
        method: ExplanationMethod | None = None,
        uses_cameras: bool = True,
        masked_share: float = 0.2,
        seed: int = 0,
    ) -> None:
        """Keep the parts; nothing is computed yet.

        Args:
            encoder: In evaluation mode.
            method: None: what suits the encoder, see `choose_method`.
            uses_cameras: False leaves cameras out, whatever the encoder knows of them.
            masked_share: Of an image's pixels that its check blots out.
            seed: Of the check's random masks.
        """
        self._encoder = encoder
        self._method = method
        self._uses_cameras = uses_cameras
        self._masked_share = masked_share
        self._seed = seed

    def explain(
        self, readers: tuple[ImageReader, ImageReader], images: tuple[ListedImage, ListedImage]
    ) -> Explanation:
        """Explain what makes a gallery image similar to a query.

        Args:
            readers: Of the query and of the gallery image.
            images: Query and gallery image.

        Raises:
            ConfigurationError: The method does not suit the encoder.
            DatasetError: An image cannot be read.
        """
        pixels = self._read(readers, images)
        camids = self._camids_of(images)
        trace = self._encoder.trace_images(pixels, camids)
        method = choose_method(trace, self._method)
        score = score_pair(trace.features.embedding())
        weights = weigh_cells(trace, method=method, score=score)
        fields = self._spread(weights, cells=trace.cells)  # (2, H, W)
        fields = fields / fields.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
        checks = self._check(pixels, camids, fields=fields, cells=trace.cells)
        query, gallery = (
            ExplainedImage(
                image=image,
                pixels=self._read_to_show(reader, image.name),
                weights=field.float().cpu(),
                check=check,
            )
            for reader, image, field, check in zip(readers, images, fields, checks, strict=True)
        )
        return Explanation(
            query=query,
            gallery=gallery,
            similarity=float(score.detach()),
            method=method,
            encoder=self._encoder.description,
            are_cameras_used=camids is not None,
        )

    def _read(self, readers: Sequence[ImageReader], images: Sequence[ListedImage]) -> Tensor:
        """Read the pair as the encoder takes it: (2, 3, H, W)."""
        geometry = self._encoder.geometry
        pixels = torch.cat(
            [
                reader.read([image.name], size=geometry.image_size, resampling=Resampling.BILINEAR)
                for reader, image in zip(readers, images, strict=True)
            ]
        )
        return normalise(
            to_device(self._encoder.device, pixels),
            mean=geometry.pixel_mean,
            std=geometry.pixel_std,
        )

    def _read_to_show(self, reader: ImageReader, name: str) -> Tensor:
        size = self._encoder.geometry.image_size
        scale = math.ceil(SHOWN_HEIGHT / size.height)
        shown = ImageSize(scale * size.height, scale * size.width)
        return reader.read([name], size=shown, resampling=Resampling.BICUBIC)[0].cpu()

    def _camids_of(self, images: Sequence[ListedImage]) -> Tensor | None:
        """Number the cameras from zero; None unless the encoder knows those of both images."""
        num_cameras = self._encoder.geometry.num_cameras if self._uses_cameras else 0
        known = {str(camid + 1): camid for camid in range(num_cameras)}
        camids = [known[image.camera] for image in images if image.camera in known]
        return torch.tensor(camids) if len(camids) == len(images) else None

    def _spread(self, weights: Tensor, *, cells: Cells) -> Tensor:
        size = self._encoder.geometry.image_size
        return spread_over_pixels(weights, cells=cells, height=size.height, width=size.width)

    @torch.no_grad()
    def _check(
        self, images: Tensor, camids: Tensor | None, *, fields: Tensor, cells: Cells
    ) -> list[DeletionCheck]:
        """Blot out parts of one image at a time, and compare with the other one whole."""
        generator = generator_for(self._seed, "explanation")
        drawn = torch.rand(NUM_DRAWS, cells.rows * cells.columns, generator=generator)
        chance = self._spread(drawn, cells=cells).to(fields)  # (N, H, W)
        whole = self._embed(images, camids)  # (2, D)
        checks = []
        for side, field in enumerate(fields):
            orders = torch.cat([torch.stack([field, -field]) + _TIE_BREAK * chance[:1], chance])
            copies = images[side].expand(len(orders), -1, -1, -1)
            masked = mask_pixels(copies, orders, share=self._masked_share)
            cameras = None if camids is None else camids[side].expand(len(orders))
            found = (self._embed(masked, cameras) @ whole[1 - side]).tolist()
            checks.append(
                DeletionCheck(
                    share=self._masked_share,
                    most_marked=found[0],
                    least_marked=found[1],
                    random=sum(found[2:]) / NUM_DRAWS,
                )
            )
        return checks

    def _embed(self, images: Tensor, camids: Tensor | None) -> Tensor:
        return F.normalize(self._encoder.encode_images(images, camids).embedding(), dim=1)


def choose_method(trace: ImageTrace, wanted: ExplanationMethod | None) -> ExplanationMethod:
    """Take the method wanted, or else the best one of those that suit the encoder.

    Of a ViT's two methods the gradient's is the better one by far: with a fifth of one image
    blotted out where it is marked, the similarity of pairs of one drawn person fell further than at
    random for 92 % of the images, and for 61 % after plain roll-out (a shortly trained vit-tiny, 64
    images).

    Raises:
        ConfigurationError: The method does not suit the encoder.
    """
    suitable = _METHODS_OF[type(trace)]
    if wanted is None:
        return suitable[0]
    if wanted not in suitable:
        raise ConfigurationError(
            f"explain.method: {wanted} does not suit this kind of encoder; leave it out, or choose "
            + " or ".join(suitable)
        )
    return wanted


def weigh_cells(trace: ImageTrace, *, method: ExplanationMethod, score: Tensor) -> Tensor:
    """Weigh the cells of traced images.

    Args:
        trace: Of B images.
        method: One that suits the trace.
        score: () that the features of all B images led to.

    Returns:
        (B, P) float, not negative, without gradient.
    """
    if isinstance(trace, MapTrace):
        (gradients,) = torch.autograd.grad(score, [trace.maps])
        return weigh_map(trace.maps.detach(), gradients)
    attention = [shares.detach() for shares in trace.attention]
    if method is ExplanationMethod.ROLLOUT:
        return roll_out(attention)
    return roll_out_gradients(attention, torch.autograd.grad(score, trace.attention))
