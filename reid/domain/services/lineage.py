"""The finished run that another one goes on from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.events import Stage
from reid.domain.training.heads import HEAD_NAMES
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of
from reid.ports.runs import RunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parent:
    """A finished run: what it trained, and where it is."""

    place: str
    encoder: Checkpoint
    prompts: Checkpoint | None  # None where it was trained without any

    @classmethod
    def of(cls, runs: RunStore) -> Self:
        """Read a finished run.

        Raises:
            CheckpointError: Its training is not finished, or a file of it is damaged.
        """
        encoder = runs.load(Stage.ENCODER)
        if encoder is None:
            raise CheckpointError(
                f"{runs.place} has no finished encoder to go on from: finish its training, or name "
                "another run by run.parent"
            )
        return cls(place=runs.place, encoder=encoder, prompts=runs.load(Stage.PROMPTS))

    @property
    def epochs(self) -> int | None:
        """Epochs of stage 2 that lie behind its encoder; None where that was not recorded."""
        epochs = self.encoder.header.get("epochs")
        return epochs if isinstance(epochs, int) else None

    @property
    def digest(self) -> str:
        """Digest of its encoder's tensors, heads included."""
        return digest_of(self.encoder.tensors)

    def heads_for(self, pids: Sequence[int]) -> dict[str, Tensor]:
        """Take its heads, by name, if it learned these identities in this order; else none."""
        if self.encoder.header.get("pids") != list(pids):
            return {}
        tensors = self.encoder.tensors
        return {name: tensors[name] for name in tensors if name.startswith(HEAD_NAMES)}

    def record(self) -> dict[str, JsonValue]:
        """Say which run it is, for the records of the one that goes on."""
        return {"run": self.place, "digest": self.digest, "epochs": self.epochs}
