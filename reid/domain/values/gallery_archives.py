"""What a gallery is when it is taken elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from reid.domain.values.galleries import Calibration, EncoderStamp, NewPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedGallery:
    """Vectors and what is known of their pictures; neither thumbnails nor the audit log.

    Pictures and vectors are told one after another, so that no more than a part of a large gallery
    is in memory; each call begins anew.
    """

    stamp: EncoderStamp
    num_pictures: int
    pictures: Callable[[], Iterator[NewPicture]]
    vectors: Callable[[], Iterator[Tensor]]
    """Parts, each (N, D) float32, in the order of the pictures."""

    calibrations: tuple[Calibration, ...]
