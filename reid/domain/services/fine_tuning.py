"""Stage 2: train the image encoder, prompts and text encoder frozen.

CLIP-ReID (Li et al. 2023, arXiv:2211.13977), section 3.3.

Letters: N images, C identities, E width of the shared space, B batch, P identities x K images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import Stage
from reid.domain.services.encoder_stage import EncoderStage
from reid.domain.services.freezing import frozen_parameters
from reid.domain.services.lineage import Parent
from reid.domain.services.prompt_learning import TEXT_FEATURES
from reid.domain.services.stage_loop import WAY_OUT, StageLoop, state_name
from reid.domain.services.teaching import Teacher
from reid.domain.training.heads import HEAD_NAMES
from reid.domain.training.losses import Loss
from reid.domain.values.checkpoints import (
    ENCODER_FORMAT,
    PROMPTS_FORMAT,
    Checkpoint,
    JsonValue,
    digest_of,
)
from reid.domain.values.counts import counted
from reid.domain.values.recipes import FineTuningRecipe
from reid.domain.values.samples import Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import TrainableEncoder

_OWN_CHECKPOINTS = (Stage.ENCODER, state_name(Stage.ENCODER))


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """Trains the image encoder and its heads on PK batches."""

    encoder: TrainableEncoder
    dataset: Dataset
    loop: StageLoop
    recipe: FineTuningRecipe
    seed: int
    losses: Mapping[str, Loss] = field(default_factory=dict)
    """One for each weight of `recipe.losses`."""
    teacher: Teacher | None = None  # whose descriptors the encoder learns, too

    @property
    def needs_prompts(self) -> bool:
        """Whether the objective reads the prompts' text features."""
        return self.recipe.image_to_text_weight > 0

    def run(self, prompts: Checkpoint | None, *, parent: Parent | None = None) -> Checkpoint:
        """Train the encoder in place, or load into it what the run store already has.

        The prompts are stage 1's result; None where `needs_prompts` is false. With a parent, the
        encoder is the parent's already, and so are the prompts; its heads are kept if they fit.

        Returns:
            The run store's `encoder`: image tower and heads under the names of the authors'
            released checkpoints.

        Raises:
            DatasetError: The training images cannot be read.
            ConfigurationError: A batch needs more identities than there are.
            CheckpointError: The prompts belong to other identities or to another encoder, or the
                run store cannot be read or written.
        """
        finished = self.loop.finished(Stage.ENCODER, self.recipe.epochs, check=self._require_own)
        if finished is not None:
            self.encoder.load_state(image_tower_of(finished))
            return finished
        self.check_recipe()
        text_features = None
        if prompts is not None:
            self.check_prompts(prompts, are_inherited=parent is not None)
            text_features = prompts.tensors[TEXT_FEATURES].to(self.encoder.device)
        stage = EncoderStage(
            encoder=self.encoder,
            dataset=self.dataset,
            text_features=text_features,
            recipe=self.recipe,
            losses=self.losses,
            seed=self.seed,
            targets=None if self.teacher is None else self.teacher.describe(self.dataset),
            heads={} if parent is None else parent.heads_for(self._pids()),
        )
        stage.set_training(enabled=True)
        try:
            losses = self.loop.train(stage)
        finally:
            stage.set_training(enabled=False)
        stage.settle()
        return self.loop.finish(
            stage.name, ENCODER_FORMAT, stage.weights(), header=self._header(parent), losses=losses
        )

    def _header(self, parent: Parent | None) -> dict[str, JsonValue]:
        description = self.encoder.description
        return {
            "encoder": {
                "name": description.name,
                "weights": description.weights,
                "is_pretrained": description.is_pretrained,
                "options": dict(description.options),
            },
            "num_identities": len(self._pids()),
            "pids": list[JsonValue](self._pids()),
            **_history(self.recipe.epochs, parent),
        }

    def check_recipe(self) -> None:
        """Check that the training set can fill a batch, and that frozen parameters exist.

        Raises:
            ConfigurationError: It has fewer identities than a batch needs, or they do not.
        """
        frozen_parameters(self.encoder, self.recipe.frozen)
        known, wanted = len(self._pids()), self.recipe.identities_per_batch
        if known < wanted:
            raise ConfigurationError(
                f"finetuning.identities_per_batch is {wanted}, but the training set has "
                f"{counted(known, 'identity', 'identities')}; set it to {known} or less"
            )

    def check_prompts(self, prompts: Checkpoint, *, are_inherited: bool = False) -> None:
        """Check that prompts belong to this training set and to this encoder, untrained.

        A parent's prompts were learned with the encoder that the parent started from.

        Raises:
            CheckpointError: They do not.
        """
        found = prompts.header.get("format", PROMPTS_FORMAT)
        if found != PROMPTS_FORMAT:
            raise CheckpointError(
                f"the file of prompts should have the format {PROMPTS_FORMAT!r}, not {found!r}: "
                "bring back the run's own file, or learn the prompts again"
            )
        pids, known = self._pids(), prompts.header.get("pids")
        if known != pids:
            count = len(known) if isinstance(known, list) else 0
            raise CheckpointError(
                f"the prompts are of {counted(count, 'identity', 'identities')}, but this training "
                f"set has {len(pids)}, or other ones; learn prompts on this dataset first"
            )
        if are_inherited:
            return
        description = self.encoder.description
        if prompts.header.get("encoder_digest") != digest_of(self.encoder.state()):
            raise CheckpointError(
                f"the prompts were learned with {prompts.header.get('encoder')}, "
                f"{prompts.header.get('weights')}, but the encoder is {description.name}, "
                f"{description.weights}; start from the same weights (encoder.weights), or learn "
                "prompts with these first"
            )

    def _require_own(self, finished: Checkpoint) -> None:
        """Refuse an encoder that was copied from another run, as far as its header shows."""
        encoder = finished.header.get("encoder")
        name = encoder.get("name") if isinstance(encoder, dict) else None
        found = (
            ("kind", finished.header.get("format"), ENCODER_FORMAT),
            ("encoder", name, self.encoder.description.name),
            ("number of identities", finished.header.get("num_identities"), len(self._pids())),
        )
        for what, there, here in found:
            if there != here:
                place = self.loop.runs.place_of(Stage.ENCODER)
                raise CheckpointError(
                    f"{place} is not of this run: its {what} is {there!r}, and {here!r} is wanted; "
                    f"{WAY_OUT}"
                )

    def _pids(self) -> list[int]:
        return list(labels_by_pid(self.dataset.samples(Split.TRAIN)))

    def check_untrained(self) -> None:
        """Check that nothing of stage 2 would be overwritten beside the finished prompts.

        Raises:
            CheckpointError: There is a trained encoder, or the state of an unfinished one.
        """
        for name in _OWN_CHECKPOINTS:
            if self.loop.runs.load(name) is not None:
                raise CheckpointError(
                    f"{self.loop.runs.place} has trained an encoder already ({name}); resume the "
                    "run, or overwrite it to train again"
                )

    def forget(self) -> None:
        """Discard the run's trained encoder, finished or not; prompts stay."""
        for name in _OWN_CHECKPOINTS:
            self.loop.runs.discard(name)


def _history(epochs: int, parent: Parent | None) -> dict[str, JsonValue]:
    """Tell how many epochs lie behind an encoder, its parent's included, and from which run."""
    if parent is None:
        return {"epochs": epochs}
    before = parent.epochs
    return {"epochs": None if before is None else before + epochs, "parent": parent.record()}


def image_tower_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Take the image tower out of an `encoder` checkpoint; only training needs the heads."""
    return {
        name: tensor
        for name, tensor in checkpoint.tensors.items()
        if not name.startswith(HEAD_NAMES)
    }
