"""Stage 2: train the image encoder, prompts and text encoder frozen.

CLIP-ReID (Li et al. 2023, arXiv:2211.13977), section 3.3.

Letters: N pictures, C identities, E width of the shared space, B batch, P identities x K images.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from reid.domain.augmentation import augment
from reid.domain.averaging import WeightAverage, without_averages
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import Stage
from reid.domain.heads import ReidHeads
from reid.domain.losses import Loss
from reid.domain.objectives import Objective, fine_tuning_objective, with_losses
from reid.domain.optimizers import NamedAdam, fine_tuning_optimizer
from reid.domain.sampling import GeneratorDraws, pk_batches
from reid.domain.schedules import fine_tuning_rate
from reid.domain.seeding import generator_for
from reid.domain.services.freezing import train_only
from reid.domain.services.prompt_learning import TEXT_FEATURES
from reid.domain.services.stage_loop import StageLoop
from reid.domain.transfers import sent_to
from reid.domain.values.checkpoints import (
    CHECKPOINT_VERSION,
    ENCODER_FORMAT,
    PROMPTS_FORMAT,
    Checkpoint,
    digest_of,
)
from reid.domain.values.counts import counted
from reid.domain.values.encoders import Tower
from reid.domain.values.recipes import FineTuningRecipe
from reid.domain.values.samples import Resampling, Sample, Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.encoder import Encoder
from reid.ports.events import EventListener
from reid.ports.runs import RunStore

ENCODER = "encoder"
"""Name of the finished stage's checkpoint."""


class FineTuning:
    """Trains the image encoder and its heads on PK batches."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        dataset: Dataset,
        runs: RunStore,
        listener: EventListener,
        recipe: FineTuningRecipe,
        seed: int,
        checkpoint_every: int = 1,
        losses: Mapping[str, Loss] = MappingProxyType({}),
    ) -> None:
        """Keep the parts, a loss for each weight of `recipe.losses`; nothing is computed yet."""
        self._encoder = encoder
        self._dataset = dataset
        self._runs = runs
        self._losses = losses
        self._recipe = recipe
        self._seed = seed
        self._loop = StageLoop(
            stage=Stage.ENCODER,
            num_epochs=recipe.epochs,
            learning_rate=partial(fine_tuning_rate, recipe=recipe),
            runs=runs,
            listener=listener,
            checkpoint_every=checkpoint_every,
            batch_settings="finetuning.identities_per_batch or finetuning.images_per_identity",
        )

    def run(self, prompts: Checkpoint) -> Checkpoint:
        """Train the encoder in place, or load into it what the run store already has.

        Args:
            prompts: What stage 1 left: `text_features` (C, E), and the pids in the header.

        Returns:
            The run store's `encoder`: image tower and heads under the names of the authors'
            released checkpoints.

        Raises:
            DatasetError: The training pictures cannot be read.
            ConfigurationError: A batch wants more identities than there are.
            CheckpointError: The prompts are of other identities or of another encoder, or the run
                store cannot be read or written.
        """
        finished = self._runs.load(ENCODER)
        if finished is not None:
            self._require_own(finished)
            self._runs.discard(self._loop.state_name)
            self._encoder.load_state_of(Tower.IMAGE, image_tower_of(finished))
            self._loop.tell_finished()
            return finished
        self.check_recipe()
        self.check_prompts(prompts)
        samples = self._dataset.samples(Split.TRAIN)
        trainee = self._trainee(samples, prompts.tensors[TEXT_FEATURES].to(self._encoder.device))
        trainee.set_training(enabled=True)
        try:
            losses = self._loop.run(trainee)
        finally:
            trainee.set_training(enabled=False)
        trainee.settle()
        trained = self._finish(trainee, losses=losses)
        self._runs.save(ENCODER, trained)
        self._runs.discard(self._loop.state_name)
        return trained

    def check_recipe(self) -> None:
        """Find out whether the training set can fill a batch.

        Raises:
            ConfigurationError: It has fewer identities than a batch wants.
        """
        samples = self._dataset.samples(Split.TRAIN)
        known, wanted = len({sample.pid for sample in samples}), self._recipe.identities_per_batch
        if known < wanted:
            raise ConfigurationError(
                f"finetuning.identities_per_batch is {wanted}, but the training set has "
                f"{counted(known, 'identity', 'identities')}; set it to {known} or less"
            )

    def check_prompts(self, prompts: Checkpoint) -> None:
        """Find out whether prompts are of this training set and of this encoder, untrained.

        Raises:
            CheckpointError: They are not.
        """
        said = prompts.header.get("format", PROMPTS_FORMAT)
        if said != PROMPTS_FORMAT:
            raise CheckpointError(
                f"the file of prompts should be of the kind {PROMPTS_FORMAT!r}, but is {said!r}: "
                "bring back the run's own file, or learn prompts anew: --stage prompts"
            )
        pids = list(labels_by_pid(self._dataset.samples(Split.TRAIN)))
        known = prompts.header.get("pids")
        if known != pids:
            count = len(known) if isinstance(known, list) else 0
            raise CheckpointError(
                f"the prompts are of {counted(count, 'identity', 'identities')}, but this training "
                f"set has {len(pids)}, or others; learn prompts on this dataset first: "
                "--stage prompts"
            )
        description = self._encoder.description
        if prompts.header.get("encoder_digest") != digest_of(self._encoder.state_of(Tower.IMAGE)):
            raise CheckpointError(
                f"the prompts were learned with {prompts.header.get('encoder')}, "
                f"{prompts.header.get('weights')}, but the encoder is {description.name}, "
                f"{description.weights}; start from the same weights, or learn prompts with these "
                "first: --stage prompts"
            )

    def _require_own(self, finished: Checkpoint) -> None:
        """Refuse an encoder that was put into the run's folder from elsewhere, as far as it tells.

        Raises:
            CheckpointError: It is of another kind of encoder or of other identities.
        """
        encoder = finished.header.get("encoder")
        name = encoder.get("name") if isinstance(encoder, dict) else None
        count = len(labels_by_pid(self._dataset.samples(Split.TRAIN)))
        found = (
            ("kind", finished.header.get("format"), ENCODER_FORMAT),
            ("encoder", name, self._encoder.description.name),
            ("number of identities", finished.header.get("num_identities"), count),
        )
        for what, there, here in found:
            if there != here:
                raise CheckpointError(
                    f"{self._runs.place_of(ENCODER)} is not of this run: its {what} is {there!r}, "
                    f"and {here!r} is wanted; bring back the run's own file, or train anew by "
                    "--overwrite"
                )

    def check_untrained(self) -> None:
        """Find out whether the run has room for a fresh training beside its finished prompts.

        Raises:
            CheckpointError: An encoder is there, or half of one.
        """
        for name in (ENCODER, self._loop.state_name):
            if self._runs.load(name) is not None:
                raise CheckpointError(
                    f"{self._runs.place} has trained an encoder already ({name}); go on by "
                    "--resume, or train it anew by --overwrite"
                )

    def forget(self) -> None:
        """Drop the run's trained encoder, or half of one; prompts stay."""
        for name in (ENCODER, self._loop.state_name):
            self._runs.discard(name)

    def _trainee(self, samples: Sequence[Sample], text_features: Tensor) -> "_EncoderTrainee":
        geometry = self._encoder.geometry
        train_only(self._encoder, Tower.IMAGE)
        heads = ReidHeads(
            final_width=geometry.final_width,
            projected_width=geometry.projected_width,
            num_identities=len(text_features),
            generator=generator_for(self._seed, "encoder", "heads"),
        ).to(self._encoder.device)
        return _EncoderTrainee(
            encoder=self._encoder,
            heads=heads,
            dataset=self._dataset,
            samples=samples,
            text_features=text_features,
            recipe=self._recipe,
            losses=self._losses,
            seed=self._seed,
        )

    def _finish(self, trainee: "_EncoderTrainee", *, losses: Mapping[str, float]) -> Checkpoint:
        description = self._encoder.description
        return Checkpoint(
            tensors=trainee.weights(),
            header={
                "format": ENCODER_FORMAT,
                "version": CHECKPOINT_VERSION,
                "encoder": {
                    "name": description.name,
                    "weights": description.weights,
                    "is_pretrained": description.is_pretrained,
                    "options": dict(description.options),
                },
                "num_identities": trainee.num_identities,
                "losses": dict(losses),
            },
        )


class _EncoderTrainee:
    """An image tower with heads that learn from PK batches."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        heads: ReidHeads,
        dataset: Dataset,
        samples: Sequence[Sample],
        text_features: Tensor,
        recipe: FineTuningRecipe,
        losses: Mapping[str, Loss],
        seed: int,
    ) -> None:
        label_of = labels_by_pid(samples)
        self._encoder = encoder
        self._heads = heads
        self._dataset = dataset
        self._images = [sample.image for sample in samples]
        self._labels = torch.tensor([label_of[sample.pid] for sample in samples])  # (N,)
        self._camids = torch.tensor([sample.camid for sample in samples])  # (N,)
        self._text_features = text_features  # (C, E)
        self._recipe = recipe
        self._losses = losses
        self._seed = seed
        self._optimizer = fine_tuning_optimizer(self._named_parameters(), recipe)
        decay = recipe.weight_averaging
        self._average = WeightAverage(self.weights(), decay=decay) if decay > 0 else None

    @property
    def num_identities(self) -> int:
        return len(self._text_features)

    @property
    def optimizer(self) -> NamedAdam:
        return self._optimizer

    def set_training(self, *, enabled: bool) -> None:
        """Switch tower and heads between batch statistics and running ones."""
        self._encoder.set_training(enabled=enabled)
        self._heads.train(enabled)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        batches = pk_batches(
            self._labels.tolist(),
            num_identities=self._recipe.identities_per_batch,
            images_per_identity=self._recipe.images_per_identity,
            draws=GeneratorDraws(generator_for(self._seed, "encoder", "batches", epoch)),
            camids=self._camids.tolist() if self._recipe.sampling == "cameras" else None,
        )
        return [torch.tensor(batch) for batch in batches]

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:
        features = self._encoder.encode_images(
            self._read(rows, epoch=epoch, step=step), self._camids[rows]
        )
        labels = sent_to(self._encoder.device, self._labels[rows])
        objective = fine_tuning_objective(
            features,
            self._heads(features),
            labels=labels,
            text_features=self._text_features,
            recipe=self._recipe,
        )
        return with_losses(
            objective, features, labels=labels, losses=self._losses, weights=self._recipe.losses
        )

    def after_step(self) -> None:
        if self._average is not None:
            self._average.update(self.weights())

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of tower and heads, as they are now."""
        return dict(self._encoder.state_of(Tower.IMAGE)) | dict(self._heads.state_dict())

    def settle(self) -> None:
        """End with the averaged weights, if weights are averaged."""
        if self._average is not None:
            self._load_weights(self.weights() | self._average.averages())

    def state(self) -> dict[str, Tensor]:
        return self.weights() | ({} if self._average is None else self._average.state())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        if self._average is not None:
            self._average.load_state(state)
            state = without_averages(state)
        self._load_weights(state)

    def _load_weights(self, state: Mapping[str, Tensor]) -> None:
        own = self._heads.state_dict()
        self._heads.load_state_dict({name: state[name] for name in own})
        self._encoder.load_state_of(
            Tower.IMAGE, {name: tensor for name, tensor in state.items() if name not in own}
        )

    def _named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        return [
            *self._heads.named_parameters(),
            *self._encoder.named_parameters_of(Tower.IMAGE),
        ]

    def _read(self, rows: Tensor, *, epoch: int, step: int) -> Tensor:
        geometry = self._encoder.geometry
        pixels = self._dataset.reader.read(
            [self._images[row] for row in rows.tolist()],
            size=geometry.image_size,
            resampling=Resampling.BICUBIC,
        )
        return augment(
            sent_to(self._encoder.device, pixels),
            self._recipe,
            mean=geometry.pixel_mean,
            std=geometry.pixel_std,
            generator=generator_for(self._seed, "encoder", "augment", epoch, step),
        )


def image_tower_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Take the image tower out of an `encoder` checkpoint: only training needs the heads."""
    heads = ("classifier", "bottleneck")
    return {
        name: tensor for name, tensor in checkpoint.tensors.items() if not name.startswith(heads)
    }
