"""Find and test what made two images alike.

Letters: B batch, D width, h w grid, P = h * w cells, H W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.explanation import (
    mask_pixels,
    roll_out,
    roll_out_gradients,
    score_pair,
    spread_over_pixels,
    weigh_map,
)
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import normalised_for
from reid.domain.services.lists import camids_of, split_off_unreadable
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
from reid.ports.dataset import ImageSource
from reid.ports.image_encoder import ExplainableEncoder

NUM_DRAWS = 8  # random masks in a deletion check
SHOWN_HEIGHT = 384  # least height in pixels of the images that are shown
_METHODS_OF: Mapping[type[ImageTrace], tuple[ExplanationMethod, ...]] = {
    AttentionTrace: (ExplanationMethod.GRADIENT_ROLLOUT, ExplanationMethod.ROLLOUT),
    MapTrace: (ExplanationMethod.GRAD_CAM,),
}
"""Methods for each kind of encoder, the best first.

For a ViT that is gradient roll-out by far: with a fifth of one image masked where it is marked, the
similarity of pairs of one drawn person fell further than with random masks for 92 % of the images,
and for 61 % with plain roll-out (a shortly trained vit-tiny, 64 images).
"""

_TIE_BREAK = 1e-6  # share of the largest weight: orders pixels of equal weight by chance


@dataclass(frozen=True, slots=True, kw_only=True)
class PairExplainer:
    """Explains the similarity of pairs, and checks each explanation on the pair itself."""

    encoder: ExplainableEncoder  # in evaluation mode
    method: ExplanationMethod | None = None  # None: the best for the encoder
    uses_cameras: bool = True  # False leaves cameras out, also for an encoder that knows them
    masked_share: float = 0.2  # share of an image's pixels that its check masks
    seed: int = 0

    def explain(self, query: ImageSource, gallery: ImageSource) -> Explanation:
        """Explain what makes a gallery image similar to a query.

        Raises:
            ConfigurationError: The method does not suit the encoder.
            DatasetError: A source is not one readable image.
        """
        sources = (query, gallery)
        images = (_only_image(query, role="query"), _only_image(gallery, role="gallery"))
        pixels = normalised_for(
            self.encoder, torch.cat([self._read(*one) for one in zip(sources, images, strict=True)])
        )
        num_cameras = self.encoder.geometry.num_cameras if self.uses_cameras else 0
        camids = camids_of(images, num_cameras=num_cameras)
        trace = self.encoder.trace_images(pixels, camids)
        method = _choose_method(trace, self.method)
        score = score_pair(trace.features.embedding())
        weights = _weigh_cells(trace, method=method, score=score)
        fields = self._spread(weights, cells=trace.cells)  # (2, H, W)
        fields = fields / fields.amax(dim=(1, 2), keepdim=True).clamp(min=1e-30)
        checks = self._check(pixels, camids, fields=fields, cells=trace.cells)
        explained = [
            ExplainedImage(
                image=image,
                pixels=self._read(source, image, is_shown=True)[0].cpu(),
                weights=field.float().cpu(),
                check=check,
            )
            for source, image, field, check in zip(sources, images, fields, checks, strict=True)
        ]
        return Explanation(
            query=explained[0],
            gallery=explained[1],
            similarity=float(score.detach()),
            method=method,
            encoder=self.encoder.description,
            are_cameras_used=camids is not None,
        )

    def _read(self, source: ImageSource, image: ListedImage, *, is_shown: bool = False) -> Tensor:
        """Read an image as the encoder takes it, or enlarged to be shown: (1, 3, H, W)."""
        geometry = self.encoder.geometry
        size, resampling = geometry.image_size, geometry.resampling
        if is_shown:
            scale = math.ceil(SHOWN_HEIGHT / size.height)
            size = ImageSize(scale * size.height, scale * size.width)
            resampling = Resampling.BICUBIC
        return source.reader.read([image.name], size=size, resampling=resampling)

    def _spread(self, weights: Tensor, *, cells: Cells) -> Tensor:
        size = self.encoder.geometry.image_size
        return spread_over_pixels(weights, cells=cells, height=size.height, width=size.width)

    @torch.no_grad()
    def _check(
        self, images: Tensor, camids: Tensor | None, *, fields: Tensor, cells: Cells
    ) -> list[DeletionCheck]:
        """Mask parts of one image at a time, and compare with the other one unmasked."""
        generator = generator_for(self.seed, "explanation")
        drawn = torch.rand(NUM_DRAWS, cells.rows * cells.columns, generator=generator)
        chance = self._spread(drawn, cells=cells).to(fields)  # (N, H, W)
        whole = self._embed(images, camids)  # (2, D)
        checks = []
        for side, field in enumerate(fields):
            orders = torch.cat([torch.stack([field, -field]) + _TIE_BREAK * chance[:1], chance])
            copies = images[side].expand(len(orders), -1, -1, -1)
            masked = mask_pixels(copies, orders, share=self.masked_share)
            cameras = None if camids is None else camids[side].expand(len(orders))
            found = (self._embed(masked, cameras) @ whole[1 - side]).tolist()
            checks.append(
                DeletionCheck(
                    share=self.masked_share,
                    most_marked=found[0],
                    least_marked=found[1],
                    random=sum(found[2:]) / NUM_DRAWS,
                )
            )
        return checks

    def _embed(self, images: Tensor, camids: Tensor | None) -> Tensor:
        return F.normalize(self.encoder.encode_images(images, camids).embedding(), dim=1)


def _only_image(source: ImageSource, *, role: str) -> ListedImage:
    listed = source.images()
    if len(listed) != 1:
        raise DatasetError(
            f"an explanation is of one {role} image, but {len(listed)} were given, from "
            f"{listed[0].name} on: name a single image"
        )
    readable, _ = split_off_unreadable(source, role=role)
    return readable.images()[0]


def _choose_method(trace: ImageTrace, wanted: ExplanationMethod | None) -> ExplanationMethod:
    suitable = _METHODS_OF[type(trace)]
    if wanted is None:
        return suitable[0]
    if wanted not in suitable:
        raise ConfigurationError(
            f"explain.method: {wanted} does not suit this kind of encoder; leave it out, or choose "
            + " or ".join(suitable)
        )
    return wanted


def _weigh_cells(trace: ImageTrace, *, method: ExplanationMethod, score: Tensor) -> Tensor:
    """Weigh the cells of B traced images: (B, P) float, not negative, without gradient."""
    if isinstance(trace, MapTrace):
        (gradients,) = torch.autograd.grad(score, [trace.maps])
        return weigh_map(trace.maps.detach(), gradients)
    attention = [shares.detach() for shares in trace.attention]
    if method is ExplanationMethod.ROLLOUT:
        return roll_out(attention)
    return roll_out_gradients(attention, torch.autograd.grad(score, trace.attention))
