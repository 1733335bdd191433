"""Check that a saved state belongs to the stage that resumes from it."""

from collections.abc import Mapping

from torch import Tensor

from reid.domain.errors import CheckpointError
from reid.domain.values.checkpoints import STATE_FORMAT, Checkpoint, JsonValue

WAY_OUT = "bring back the run's own file, or overwrite the run to train again"


def epoch_of_state(
    checkpoint: Checkpoint,
    *,
    place: str,
    wanted: Mapping[str, Tensor],
    ignored_prefix: str,
    num_epochs: int,
) -> int:
    """Read after which epoch of this stage a state was saved.

    An intact file can still be of another stage, or of a run with another encoder or other
    identities, copied there by mistake.

    Args:
        checkpoint: The state.
        place: Where it is, for messages.
        wanted: Tensors of the stage, by name.
        ignored_prefix: Begins the names that are checked elsewhere.
        num_epochs: Of the stage.

    Raises:
        CheckpointError: It is not a state of this stage.
    """
    kind = checkpoint.header.get("format")
    if kind != STATE_FORMAT:
        raise CheckpointError(
            f"{place} should hold the state of a training ({STATE_FORMAT}), but holds {kind!r}: "
            f"{WAY_OUT}"
        )
    found = {
        name: tuple(tensor.shape)
        for name, tensor in checkpoint.tensors.items()
        if not name.startswith(ignored_prefix)
    }
    expected = {name: tuple(tensor.shape) for name, tensor in wanted.items()}
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise CheckpointError(
                f"{place} is of another training: {name} is {_shape(found.get(name))} there and "
                f"{_shape(expected.get(name))} here; {WAY_OUT}"
            )
    return _require_epoch(checkpoint.header.get("epoch"), num_epochs=num_epochs, place=place)


def _require_epoch(epoch: JsonValue, *, num_epochs: int, place: str) -> int:
    if not isinstance(epoch, int) or not 1 <= epoch <= num_epochs:
        raise CheckpointError(
            f"{place} says epoch {epoch!r}, but the stage has {num_epochs}: {WAY_OUT}"
        )
    return epoch


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else str(shape)
