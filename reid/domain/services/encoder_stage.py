"""What stage 2 trains: an image tower with heads, on PK batches of augmented images.

Letters: N images, C identities, E width of the shared space, B batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from reid.domain.events import Stage
from reid.domain.memory import to_device
from reid.domain.seeding import generator_for
from reid.domain.services.freezing import freeze_text, frozen_parameters
from reid.domain.training.augmentation import augment
from reid.domain.training.ema import ExponentialMovingAverage, without_averages
from reid.domain.training.heads import ReidHeads
from reid.domain.training.losses import Loss
from reid.domain.training.objectives import Objective, fine_tuning_objective
from reid.domain.training.optimizers import fine_tuning_optimizer
from reid.domain.training.sampling import Draws, pk_batches
from reid.domain.training.schedules import fine_tuning_rate
from reid.domain.values.recipes import FineTuningRecipe
from reid.domain.values.samples import Resampling, Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import TrainableEncoder


@dataclass(eq=False, kw_only=True)
class EncoderStage:
    """An image tower with heads that learn from PK batches."""

    encoder: TrainableEncoder
    dataset: Dataset
    text_features: Tensor | None  # (C, E), of the identities' prompts; None trains without them
    recipe: FineTuningRecipe
    losses: Mapping[str, Loss]  # one for each weight of `recipe.losses`
    seed: int
    targets: Tensor | None = None  # (N, T), a teacher's descriptors of the images; None without one
    heads: Mapping[str, Tensor] = field(default_factory=dict)  # to start from, by name; else new

    name = Stage.ENCODER
    batch_settings = "finetuning.identities_per_batch or finetuning.images_per_identity"

    def __post_init__(self) -> None:
        """Put heads on the encoder, whose text tower is frozen."""
        samples, recipe = self.dataset.samples(Split.TRAIN), self.recipe
        label_of = labels_by_pid(samples)
        self._images = [sample.name for sample in samples]
        self._labels = torch.tensor([label_of[sample.pid] for sample in samples])  # (N,)
        self._camids = torch.tensor([sample.camid for sample in samples])  # (N,)
        freeze_text(self.encoder)
        for parameter in frozen_parameters(self.encoder, recipe.frozen):
            parameter.requires_grad = False
        self._heads = ReidHeads(
            final_width=self.encoder.geometry.final_width,
            projected_width=self.encoder.geometry.projected_width,
            num_identities=len(label_of),
            generator=generator_for(self.seed, "encoder", "heads"),
            teacher_width=0 if self.targets is None else self.targets.shape[1],
        )
        own = self._heads.state_dict()
        kept = {name: self.heads.get(name, own[name]) for name in own}
        self._heads.load_state_dict(kept)
        self._heads.to(self.encoder.device)
        named = [*self._heads.named_parameters(), *self.encoder.named_parameters()]
        self.optimizer = fine_tuning_optimizer(named, recipe)
        self.num_epochs = recipe.epochs
        decay = recipe.ema_decay
        self._average = ExponentialMovingAverage(self.weights(), decay=decay) if decay > 0 else None

    def learning_rate(self, epoch: int) -> float:
        """Compute the rate of an epoch; see `TrainingStage`."""
        return fine_tuning_rate(epoch, self.recipe)

    def set_training(self, *, enabled: bool) -> None:
        """Switch tower and heads between batch statistics and running ones."""
        self.encoder.set_training(enabled=enabled)
        self._heads.train(enabled)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """List the epoch's PK batches; see `TrainingStage`."""
        batches = pk_batches(
            self._labels.tolist(),
            num_identities=self.recipe.identities_per_batch,
            images_per_identity=self.recipe.images_per_identity,
            draws=Draws(generator_for(self.seed, "encoder", "batches", epoch)),
            camids=self._camids.tolist() if self.recipe.sampling == "cameras" else None,
        )
        return [torch.tensor(batch) for batch in batches]

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:
        """Run the forward pass of one batch; see `TrainingStage`."""
        features = self.encoder.encode_images(
            self._read(rows, epoch=epoch, step=step), self._camids[rows]
        )
        labels = to_device(self.encoder.device, self._labels[rows])
        return fine_tuning_objective(
            features,
            self._heads(features),
            labels=labels,
            text_features=self.text_features,
            recipe=self.recipe,
            losses=self.losses,
            targets=None
            if self.targets is None
            else to_device(self.encoder.device, self.targets[rows]),
        )

    def after_step(self) -> None:
        """Update the average, if weights are averaged."""
        if self._average is not None:
            self._average.update(self.weights())

    def weights(self) -> dict[str, Tensor]:
        """Parameters and buffers of tower and heads, as they are now."""
        return dict(self.encoder.state()) | dict(self._heads.state_dict())

    def settle(self) -> None:
        """Load the averaged weights at the end, if weights are averaged."""
        if self._average is not None:
            self._load_weights(self.weights() | self._average.averages())

    def state(self) -> dict[str, Tensor]:
        """Everything that training changes; see `TrainingStage`."""
        return self.weights() | ({} if self._average is None else self._average.state())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state given by `state`."""
        if self._average is not None:
            self._average.load_state(state)
            state = without_averages(state)
        self._load_weights(state)

    def _load_weights(self, state: Mapping[str, Tensor]) -> None:
        own = self._heads.state_dict()
        self._heads.load_state_dict({name: state[name] for name in own})
        self.encoder.load_state({name: tensor for name, tensor in state.items() if name not in own})

    def _read(self, rows: Tensor, *, epoch: int, step: int) -> Tensor:
        geometry = self.encoder.geometry
        pixels = self.dataset.reader.read(
            [self._images[row] for row in rows.tolist()],
            size=geometry.image_size,
            resampling=Resampling.BICUBIC,
        )
        return augment(
            to_device(self.encoder.device, pixels),
            self.recipe,
            mean=geometry.pixel_mean,
            std=geometry.pixel_std,
            generator=generator_for(self.seed, "encoder", "augment", epoch, step),
        )
