"""What a gallery is when it is taken elsewhere."""

from dataclasses import dataclass

from torch import Tensor

from reid.domain.values.galleries import Calibration, EncoderStamp, NewPicture


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedGallery:
    """Vectors and what is known of their pictures; neither thumbnails nor the audit log."""

    stamp: EncoderStamp
    pictures: tuple[NewPicture, ...]
    vectors: Tensor
    """(G, D) float32, in the order of the pictures."""

    calibrations: tuple[Calibration, ...]
