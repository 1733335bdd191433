"""The identification use case and what it stands on, wired with fakes."""

from itertools import count

from reid.adapters.galleries.memory import open_memory_gallery
from reid.application.identify import Identify
from reid.domain.events import ImagesEmbedded
from reid.domain.services.embedding import Embedder
from reid.domain.services.enrolment import Enrolment
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.values.checkpoints import digest_of
from reid.domain.values.galleries import EncoderFingerprint
from reid.domain.values.samples import Split
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.vector_index import FakeIndex


class Workbench:
    """One encoder, a listener that remembers, and a clock that ticks a second per look."""

    def __init__(
        self,
        *,
        num_cameras: int = 0,
        seed: int = 0,
        batch_size: int = 3,
        uses_cameras: bool = True,
        index: FakeIndex | None = None,
    ) -> None:
        self.encoder = FakeEncoder(num_cameras=num_cameras, seed=seed)
        self.listener = RecordingListener()
        self.index = index or FakeIndex()
        self._seconds = count()
        self.embedder = Embedder(
            encoder=self.encoder,
            listener=self.listener,
            batch_size=batch_size,
            uses_cameras=uses_cameras,
        )
        self.enrolment = Enrolment(
            embedder=self.embedder, fingerprint=self.fingerprint, now=self.now
        )

    def fingerprint(self) -> EncoderFingerprint:
        description = self.encoder.description
        return EncoderFingerprint(
            name=description.name,
            weights=description.weights,
            digest=digest_of(self.encoder.state()),
            width=self.encoder.geometry.embedding_width,
            options=description.options,
        )

    def now(self) -> str:
        return f"2026-01-01T00:{next(self._seconds) // 60:02d}:00Z"

    def gallery(self, place: str = "memory") -> Gallery:
        return open_memory_gallery(create_index=lambda: self.index, place=place)

    def identify(self, *, top_k: int = 2, options: IdentificationOptions | None = None) -> Identify:
        return Identify(
            encoder=self.encoder,
            embedder=self.embedder,
            enrolment=self.enrolment,
            options=options or IdentificationOptions(top_k=top_k),
        )

    def num_embedded(self, subset: str = Split.GALLERY) -> int:
        """How many images went through the encoder so far."""
        events = [event for event in self.listener.events if isinstance(event, ImagesEmbedded)]
        ends = [event for event in events if event.subset == subset and event.done == event.total]
        return sum(event.total for event in ends)
