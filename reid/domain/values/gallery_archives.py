"""A gallery as it is exported and imported."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from reid.domain.values.galleries import Calibration, EncoderFingerprint, NewImage


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedGallery:
    """Vectors and what is known of their images; neither thumbnails nor the audit log.

    Images and vectors are streamed, so that only a part of a large gallery is in memory; each call
    starts from the beginning.
    """

    fingerprint: EncoderFingerprint
    num_images: int
    images: Callable[[], Iterator[NewImage]]
    vectors: Callable[[], Iterator[Tensor]]
    """Parts, each (N, D) float32, in the order of the images."""

    calibrations: tuple[Calibration, ...]
