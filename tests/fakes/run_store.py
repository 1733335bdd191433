"""A run kept in memory."""

import json
from collections.abc import Mapping

from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue


class FakeRunStore:
    def __init__(self) -> None:
        self.decisive: str | None = None
        self.checkpoints: dict[str, Checkpoint] = {}
        self.records: dict[str, Mapping[str, JsonValue]] = {}
        self.saved: list[str] = []

    def begin(
        self,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        *,
        resume: bool,
    ) -> None:
        text = json.dumps(dict(decisive), sort_keys=True)
        if resume and self.decisive is None:
            raise CheckpointError("no run to go on with")
        if resume and self.decisive != text:
            raise CheckpointError(f"{self.decisive} then, {text} now")
        if not resume and self.decisive is not None:
            raise CheckpointError("a run is here already; go on with it by --resume")
        self.decisive = text
        self.records["run"] = {"circumstances": dict(circumstances)}

    def save(self, name: str, checkpoint: Checkpoint) -> None:
        tensors = {key: tensor.detach().clone() for key, tensor in checkpoint.tensors.items()}
        self.checkpoints[name] = Checkpoint(tensors=tensors, header=dict(checkpoint.header))
        self.saved.append(name)

    def load(self, name: str) -> Checkpoint | None:
        return self.checkpoints.get(name)

    def discard(self, name: str) -> None:
        self.checkpoints.pop(name, None)

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        self.records[name] = report
