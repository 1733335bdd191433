"""Which encoder made the vectors of a gallery."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reid.domain.errors import GalleryError
from reid.domain.values.json_values import JsonValue


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFingerprint:
    """Identifies the encoder that made vectors; those of two encoders do not compare."""

    name: str
    weights: str  # kind and origin, as in `EncoderDescription`
    digest: str  # digest of what the encoder computes with: equal digests make equal vectors
    width: int
    uses_cameras: bool = False
    options: Mapping[str, JsonValue] = field(default_factory=dict)

    def agrees_with(self, other: "EncoderFingerprint") -> bool:
        """Whether vectors of the two compare; what the weights are called does not matter."""
        return replace(self, name="", weights="") == replace(other, name="", weights="")

    def __str__(self) -> str:
        """Name it for messages."""
        cameras = ", using cameras" if self.uses_cameras else ""
        return f"{self.name} ({self.weights}, {self.digest[:12]}{cameras})"


def require_same_encoder(
    fingerprint: EncoderFingerprint, *, kept: EncoderFingerprint | None, place: str, what: str
) -> None:
    """Refuse vectors that do not compare with those kept.

    Raises:
        GalleryError: Another encoder made what is kept.
    """
    if kept is None or kept.agrees_with(fingerprint):
        return
    raise GalleryError(
        f"{place} was made by {kept}, {what} by {fingerprint}: use that encoder, or build another "
        "gallery by this one"
    )
