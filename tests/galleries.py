"""What tests put into galleries."""

from collections.abc import Callable
from functools import partial

from reid.adapters.galleries.memory import MemoryRecords, MemoryVectors
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint, NewImage
from reid.domain.values.open_set import Calibration
from reid.ports.vector_index import VectorIndex
from tests.vectors import unit_vectors

STAMP = EncoderFingerprint(name="rn-tiny", weights="random (seed 0)", digest="aa", width=16)
CALIBRATION = Calibration(
    threshold=0.5,
    false_accept_rate=0.01,
    measured_false_accept_rate=0.008,
    identification_rate=0.9,
    slope=12.5,
    intercept=-6.25,
    num_known=100,
    num_unknown=120,
)

vectors_of = partial(unit_vectors, width=STAMP.width)


def new_images(num_images: int, *, source: str = "here", label: str = "") -> list[NewImage]:
    """Images 0.jpg, 1.jpg, ... of people a, b, c in turn, by cameras 1 and 2 in turn."""
    return [
        NewImage(
            name=f"{number}.jpg",
            source=source,
            content=f"digest-{source}-{number}",
            label=label or "abc"[number % 3],
            camera=str(number % 2 + 1),
            thumbnail=b"jpeg" if number == 0 else None,
        )
        for number in range(num_images)
    ]


def entry(action: AuditAction = AuditAction.ADD, *, day: int = 1, count: int = 0) -> AuditEntry:
    return AuditEntry(
        at=f"2026-01-{day:02d}T00:00:00Z", action=action, subject="here", num_images=count
    )


class MemoryGallery(Gallery):
    """A gallery in memory, for tests that watch or change its methods."""

    def __init__(self, *, create_index: Callable[[], VectorIndex]) -> None:
        super().__init__(MemoryRecords(place="memory"), MemoryVectors(create_index))


def enroll(gallery: Gallery, num_images: int = 12) -> tuple[int, ...]:
    return gallery.add(
        new_images(num_images), vectors_of(num_images), fingerprint=STAMP, entry=entry()
    )
