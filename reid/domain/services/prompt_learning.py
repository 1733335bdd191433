"""Stage 1: learn what to call each training identity.

CLIP-ReID (Li et al. 2023, arXiv:2211.13977), section 3.2. Both encoders are frozen, so the
pictures are encoded once, and only the prompts' learned tokens receive gradients.

Letters: N pictures, C identities, E width of the shared space, B batch.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.events import Stage
from reid.domain.objectives import Objective, prompt_objective
from reid.domain.optimizers import NamedAdam, prompt_optimizer
from reid.domain.prompts import PromptLearner
from reid.domain.sampling import shuffled_batches
from reid.domain.schedules import prompt_learning_rate
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import Embedder
from reid.domain.services.freezing import train_only
from reid.domain.services.stage_loop import StageLoop
from reid.domain.transfers import sent_to
from reid.domain.values.checkpoints import CHECKPOINT_VERSION, PROMPTS_FORMAT, Checkpoint, digest_of
from reid.domain.values.encoders import Tower
from reid.domain.values.prompts import PromptEmbedding
from reid.domain.values.recipes import PromptLearningRecipe
from reid.domain.values.samples import Sample, Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.encoder import Encoder
from reid.ports.events import EventListener
from reid.ports.runs import RunStore

PROMPTS = "prompts"
"""Name of the finished stage's checkpoint."""

TEXT_FEATURES = "text_features"
"""Name of the (C, E) tensor that stage 2 learns from."""

_TEXT_CHUNK = 64
"""Prompts that go through the text encoder at once when all of them do."""


class PromptLearning:
    """Learns context tokens for every training identity."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        dataset: Dataset,
        embedder: Embedder,
        runs: RunStore,
        listener: EventListener,
        recipe: PromptLearningRecipe,
        seed: int,
        checkpoint_every: int = 1,
    ) -> None:
        """Keep the parts; nothing is read or computed yet."""
        self._encoder = encoder
        self._dataset = dataset
        self._embedder = embedder
        self._runs = runs
        self._recipe = recipe
        self._seed = seed
        self._loop = StageLoop(
            stage=Stage.PROMPTS,
            num_epochs=recipe.epochs,
            learning_rate=partial(prompt_learning_rate, recipe=recipe),
            runs=runs,
            listener=listener,
            checkpoint_every=checkpoint_every,
            batch_settings="prompts.batch_size",
        )

    def run(self) -> Checkpoint:
        """Learn the prompts, or return those that the run store already has.

        Returns:
            The run store's `prompts`: `prompt_learner.cls_ctx` (C, M, token width) and
            `text_features` (C, E), identities by ascending pid; the header lists the pids.

        Raises:
            DatasetError: The training pictures cannot be read.
            EncoderError: As `check`.
            CheckpointError: The run store cannot be read or written.
        """
        finished = self._runs.load(PROMPTS)
        if finished is not None:
            self._runs.discard(self._loop.state_name)
            self._loop.tell_finished()
            return finished
        samples = self._dataset.samples(Split.TRAIN)
        trainee = self._trainee(samples)
        losses = self._loop.run(trainee)
        prompts = self._finish(trainee.learner, samples=samples, losses=losses)
        self._runs.save(PROMPTS, prompts)
        self._runs.discard(self._loop.state_name)
        return prompts

    def check(self) -> None:
        """Find out whether the encoder can read prompts such as the recipe's.

        Raises:
            EncoderError: It has no text tower, or the prompts are too long for it.
        """
        self._embed_template()

    def _embed_template(self) -> PromptEmbedding:
        return self._encoder.embed_template(
            self._recipe.template, num_context_tokens=self._recipe.num_context_tokens
        )

    def _trainee(self, samples: Sequence[Sample]) -> "_PromptTrainee":
        train_only(self._encoder)
        label_of = labels_by_pid(samples)
        learner = PromptLearner(
            self._embed_template(),
            num_identities=len(label_of),
            num_context_tokens=self._recipe.num_context_tokens,
            generator=generator_for(self._seed, "prompts", "initialise"),
        ).to(self._encoder.device)
        return _PromptTrainee(
            encoder=self._encoder,
            learner=learner,
            features=self._embedder.project(
                self._dataset.reader, [sample.image for sample in samples], subset=Split.TRAIN
            ),
            labels=torch.tensor([label_of[sample.pid] for sample in samples]),
            recipe=self._recipe,
            seed=self._seed,
        )

    def _finish(
        self, learner: PromptLearner, *, samples: Sequence[Sample], losses: Mapping[str, float]
    ) -> Checkpoint:
        with torch.no_grad():
            rows = torch.arange(len(learner.cls_ctx), device=learner.cls_ctx.device)
            features = [
                self._encoder.encode_prompts(learner(chunk), prefix=learner.prefix)
                for chunk in torch.split(rows, _TEXT_CHUNK)
            ]
        return Checkpoint(
            tensors={
                "prompt_learner.cls_ctx": learner.cls_ctx.detach(),
                TEXT_FEATURES: torch.cat(features),
            },
            header={
                "format": PROMPTS_FORMAT,
                "version": CHECKPOINT_VERSION,
                "encoder": self._encoder.description.name,
                "weights": self._encoder.description.weights,
                "encoder_digest": digest_of(self._encoder.state_of(Tower.IMAGE)),
                "template": self._recipe.template,
                "pids": list(labels_by_pid(samples)),
                "losses": dict(losses),
            },
        )


class _PromptTrainee:
    """Context tokens that learn against cached image features."""

    def __init__(
        self,
        *,
        encoder: Encoder,
        learner: PromptLearner,
        features: Tensor,
        labels: Tensor,
        recipe: PromptLearningRecipe,
        seed: int,
    ) -> None:
        self.learner = learner
        self._encoder = encoder
        self._features = features  # (N, E)
        self._labels = labels  # (N,), on the CPU: the device would be held up to count them
        self._batch_size = recipe.batch_size
        self._seed = seed
        self._optimizer = prompt_optimizer(learner, recipe)

    @property
    def optimizer(self) -> NamedAdam:
        return self._optimizer

    def batches(self, epoch: int) -> Sequence[Tensor]:
        generator = generator_for(self._seed, "prompts", "batches", epoch)
        return shuffled_batches(len(self._labels), self._batch_size, generator)

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:  # noqa: ARG002 nothing random in a step
        labels = self._labels[rows]  # (B,)
        # One text pass per distinct identity, then one row per picture: differs from CLIP-ReID,
        # which encodes a prompt as often as its identity occurs, to the same result.
        distinct, row_of = torch.unique(labels, return_inverse=True)
        # F.embedding, because the gradient of plain indexing is summed in any order.
        send = partial(sent_to, self._features.device)
        texts = F.embedding(send(row_of), self._describe(send(distinct)))  # (B, E)
        return prompt_objective(self._features[send(rows)], texts, labels=send(labels))

    def _describe(self, labels: Tensor) -> Tensor:
        return self._encoder.encode_prompts(self.learner(labels), prefix=self.learner.prefix)

    def after_step(self) -> None:
        """Nothing follows the learned tokens."""

    def state(self) -> dict[str, Tensor]:
        return {"cls_ctx": self.learner.cls_ctx.detach()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.learner.cls_ctx.copy_(state["cls_ctx"])
