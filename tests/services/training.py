"""Training services on fakes, small enough to run to their end in a test."""

from dataclasses import dataclass, field
from typing import Any

import torch

from reid.domain.events import EpochFinished, Event
from reid.domain.services.embedding import Embedder
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.prompt_learning import PromptLearning
from reid.domain.services.stage_loop import StageLoop
from reid.domain.services.teaching import Teacher
from reid.domain.training.losses import Loss
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.recipes import FineTuningRecipe, PromptLearningRecipe
from reid.ports.image_encoder import ImageEncoder, TrainableEncoder
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.run_store import FakeRunStore

PROMPTS = PromptLearningRecipe(epochs=4, batch_size=6, learning_rate=0.05, warmup_epochs=1)
FINE_TUNING = FineTuningRecipe(
    epochs=4,
    identities_per_batch=2,
    images_per_identity=2,
    learning_rate=0.01,
    warmup_epochs=1,
    milestones=(3,),
    random_crop_padding=2,
)


class PowerFailureError(Exception):
    """Raised by a listener in place of a power cut."""


class PowerCut(RecordingListener):
    """Stops the training when an epoch has been announced, its state not yet saved."""

    def __init__(self, *, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def __call__(self, event: Event, /) -> None:
        super().__call__(event)
        if isinstance(event, EpochFinished) and event.epoch == self._epoch:
            raise PowerFailureError(f"the light went out in epoch {event.epoch}")


@dataclass
class Laboratory:
    """One encoder, one dataset, one run."""

    encoder: TrainableEncoder = field(default_factory=FakeEncoder)
    dataset: FakeDataset = field(default_factory=FakeDataset)
    runs: FakeRunStore = field(default_factory=FakeRunStore)
    listener: RecordingListener = field(default_factory=RecordingListener)
    prompts: PromptLearningRecipe = PROMPTS
    fine_tuning: FineTuningRecipe = FINE_TUNING
    losses: dict[str, Loss] = field(default_factory=dict)
    teacher: ImageEncoder | None = None
    seed: int = 7
    checkpoint_every: int = 1

    def prompt_learning(self) -> PromptLearning:
        return PromptLearning(
            recipe=self.prompts,
            embedder=Embedder(encoder=self.encoder, listener=self.listener, batch_size=5),
            **self._shared(),
        )

    def encoder_tuning(self) -> FineTuning:
        return FineTuning(
            recipe=self.fine_tuning,
            losses=self.losses,
            teacher=None if self.teacher is None else self._teacher(self.teacher),
            **self._shared(),
        )

    def _teacher(self, encoder: ImageEncoder) -> Teacher:
        embedder = Embedder(encoder=encoder, listener=self.listener, batch_size=5)
        return Teacher(embedder=embedder, runs=self.runs)

    def epochs(self) -> list[EpochFinished]:
        return [event for event in self.listener.events if isinstance(event, EpochFinished)]

    def _shared(self) -> dict[str, Any]:
        return {
            "encoder": self.encoder,
            "dataset": self.dataset,
            "loop": StageLoop(
                runs=self.runs, listener=self.listener, checkpoint_every=self.checkpoint_every
            ),
            "seed": self.seed,
        }


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.header == other.header
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in one.tensors.items():
        assert torch.equal(tensor, other.tensors[name]), name
