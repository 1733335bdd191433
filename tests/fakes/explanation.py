"""An encoder that shows its work by hand."""

import torch
from torch import Tensor

from reid.domain.values.explanations import Cells, ImageTrace, MapTrace
from reid.domain.values.features import ImageFeatures
from tests.fakes.encoder import FakeEncoder

CELL = 4


class FakeExplainableEncoder(FakeEncoder):
    """The fake's pixels, averaged over cells of 4x4, are its map."""

    def trace_images(self, images: Tensor, camids: Tensor | None = None) -> ImageTrace:
        maps = torch.nn.functional.avg_pool2d(images.detach(), CELL).requires_grad_()
        with torch.enable_grad():
            # The fake averages over the same cells, so that their means stand for the pixels.
            spread = maps.repeat_interleave(CELL, dim=2).repeat_interleave(CELL, dim=3)
            features: ImageFeatures = self.encode_images(spread, camids)
        rows, columns = maps.shape[2:]
        cells = Cells(rows=rows, columns=columns, stride=CELL, extent=CELL)
        return MapTrace(features=features, maps=maps, cells=cells)
