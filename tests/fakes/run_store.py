"""A run kept in memory."""

from collections.abc import Mapping

from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.ports.runs import RunMode


class FakeRunStore:
    def __init__(self) -> None:
        self.fingerprint: dict[str, JsonValue] | None = None
        self.checkpoints: dict[str, Checkpoint] = {}
        self.records: dict[str, Mapping[str, JsonValue]] = {}
        self.saved: list[str] = []
        self.previous: dict[str, Checkpoint] = {}
        self.damaged: set[str] = set()
        """Names of checkpoints that cannot be read."""

    @property
    def place(self) -> str:
        return f"memory {id(self)}"

    def begin(
        self,
        fingerprint: Mapping[str, JsonValue],
        environment: Mapping[str, JsonValue],
        *,
        mode: RunMode,
    ) -> None:
        if mode is RunMode.GO_ON:
            if self.fingerprint is None:
                raise CheckpointError("no run to go on with; begin one there first")
            for key in self.fingerprint.keys() & fingerprint.keys():
                if self.fingerprint[key] != fingerprint[key]:
                    raise CheckpointError(
                        f"{key}: {self.fingerprint[key]} then, {fingerprint[key]} now"
                    )
        elif mode is RunMode.REPLACE:
            self.checkpoints.clear()
            self.previous.clear()
            self.records.clear()
            self.fingerprint = None
        elif self.checkpoints or self.records:
            raise CheckpointError("a run is here already: resume it or overwrite it")
        self.fingerprint = (self.fingerprint or {}) | dict(fingerprint)
        self.records["run"] = {"environment": dict(environment)}

    def release(self) -> None:
        pass

    def place_of(self, name: str) -> str:
        return f"{name} in {self.place}"

    def save(self, name: str, checkpoint: Checkpoint, *, keep_previous: bool = False) -> None:
        tensors = {key: tensor.detach().clone() for key, tensor in checkpoint.tensors.items()}
        if keep_previous and name in self.checkpoints:
            self.previous[name] = self.checkpoints[name]
        self.damaged.discard(name)
        self.checkpoints[name] = Checkpoint(tensors=tensors, header=dict(checkpoint.header))
        self.saved.append(name)

    def load(self, name: str) -> Checkpoint | None:
        if name in self.damaged:
            raise CheckpointError(f"{name} is damaged")
        return self.checkpoints.get(name)

    def load_previous(self, name: str) -> Checkpoint | None:
        return self.previous.get(name)

    def discard(self, name: str) -> None:
        self.checkpoints.pop(name, None)
        self.previous.pop(name, None)
        self.damaged.discard(name)

    def record(self, name: str, report: Mapping[str, JsonValue]) -> None:
        self.records[name] = report
