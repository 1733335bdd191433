"""Images to vectors.

Letters: N images, D embedding width, E width of the shared space.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.events import ImagesEmbedded
from reid.domain.memory import explain_out_of_memory, to_device
from reid.domain.training.augmentation import normalise
from reid.domain.values.features import EmbeddingSet, ImageFeatures
from reid.domain.values.samples import Sample
from reid.ports.dataset import ImageReader
from reid.ports.events import EventListener
from reid.ports.image_encoder import ImageEncoder

_Key = TypeVar("_Key")
_Batch = TypeVar("_Batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedder:
    """Runs an image encoder over lists of images."""

    encoder: ImageEncoder
    listener: EventListener
    batch_size: int = 64
    uses_cameras: bool = True  # False leaves cameras out in any case

    @property
    def num_cameras(self) -> int:
        """Cameras that are distinguished; 0 where they are ignored or left out."""
        return self.encoder.geometry.num_cameras if self.uses_cameras else 0

    def embed(
        self, reader: ImageReader, names: Sequence[str], *, camids: Tensor | None, subset: str
    ) -> Tensor:
        """Turn images into vectors.

        The camids are (N,) int64 for an encoder with camera embeddings, else ignored; None leaves
        cameras out. Progress events call the images `subset`.

        Returns:
            (N, D) float32 on the CPU, rows of unit L2 norm.

        Raises:
            ConfigurationError: Memory ran out.
            DatasetError: An image cannot be read.
            EncoderError: A camera beyond those the encoder knows.
        """
        if not names:
            return torch.empty(0, self.encoder.geometry.embedding_width)
        whole = self.embed_parts(reader, names, camids=camids, subset=subset, part_size=len(names))
        return torch.cat(list(whole))

    def embed_parts(
        self,
        reader: ImageReader,
        names: Sequence[str],
        *,
        camids: Tensor | None,
        subset: str,
        part_size: int,
    ) -> Iterator[Tensor]:
        """Turn images into vectors part by part, so that they can be saved before all are done.

        Arguments and errors are those of `embed`; a part has `part_size` images, rounded up to
        whole batches.
        """
        batches = self._batches(
            reader, names, camids=camids, subset=subset, select=ImageFeatures.embedding
        )
        num_batches = -(-part_size // self.batch_size)
        while part := list(islice(batches, num_batches)):
            yield F.normalize(torch.cat(part), dim=1)

    def embed_samples(
        self, reader: ImageReader, samples: Sequence[Sample], *, subset: str
    ) -> EmbeddingSet:
        """Turn the images of a split into an embedding set on the CPU; see `embed`."""
        camids = torch.tensor([sample.camid for sample in samples])
        names = [sample.name for sample in samples]
        return EmbeddingSet(
            vectors=self.embed(reader, names, camids=camids, subset=subset),
            pids=torch.tensor([sample.pid for sample in samples]),
            camids=camids,
        )

    def project(self, reader: ImageReader, names: Sequence[str], *, subset: str) -> Tensor:
        """Turn images into projected features without cameras, for stage 1; see `embed`.

        Returns:
            (N, E) float32 on the encoder's device, not normalised.
        """
        projected = self._batches(
            reader, names, camids=None, subset=subset, select=lambda features: features.projected
        )
        return torch.cat(list(projected)).to(self.encoder.device)

    def _batches(
        self,
        reader: ImageReader,
        names: Sequence[str],
        *,
        camids: Tensor | None,
        subset: str,
        select: Callable[[ImageFeatures], Tensor],
    ) -> Iterator[Tensor]:
        self.listener(ImagesEmbedded(subset=subset, done=0, total=len(names)))
        known = camids if self.uses_cameras else None
        starts = range(0, len(names), self.batch_size)
        batches = [slice(start, start + self.batch_size) for start in starts]
        # The reader decodes the next batch while the encoder works on this one. For a single batch
        # a thread costs more than it saves.
        reading = prefetch if len(batches) > 1 else map
        geometry = self.encoder.geometry

        def read_rows(rows: slice) -> Tensor:
            return reader.read(
                names[rows], size=geometry.image_size, resampling=geometry.resampling
            )

        read = reading(read_rows, batches)
        for rows, pixels in zip(batches, read, strict=True):
            cameras = None if known is None else known[rows]
            size = f"while describing {len(pixels)} images at once"
            with explain_out_of_memory("evaluation.batch_size", during=size), torch.no_grad():
                images = normalised_for(self.encoder, pixels)
                selected = select(self.encoder.encode_images(images, cameras)).cpu()
            done = min(rows.stop, len(names))
            self.listener(ImagesEmbedded(subset=subset, done=done, total=len(names)))
            yield selected


def normalised_for(encoder: ImageEncoder, pixels: Tensor) -> Tensor:
    """Copy (B, 3, H, W) uint8 pixels to an encoder's device, and normalise them as it expects."""
    geometry = encoder.geometry
    copied = to_device(encoder.device, pixels)
    return normalise(copied, mean=geometry.pixel_mean, std=geometry.pixel_std)


def prefetch(read: Callable[[_Key], _Batch], keys: Iterable[_Key]) -> Iterator[_Batch]:
    """Yield `read(key)` for every key in order, while a thread reads the next one.

    The thread is at most one key ahead, so memory stays bounded, and ends when the iterator is
    exhausted, closed or dropped. An error of `read` is raised here, in its turn.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading-ahead") as reader:
        asked: Future[_Batch] | None = None
        for key in keys:
            upcoming = reader.submit(read, key)
            if asked is not None:
                yield asked.result()
            asked = upcoming
        if asked is not None:
            yield asked.result()
