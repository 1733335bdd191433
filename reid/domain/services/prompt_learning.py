"""Stage 1: learn what to call each training identity.

CLIP-ReID (Li et al. 2023, arXiv:2211.13977), section 3.2. Both encoders are frozen, so the images
are encoded once, and only the prompts' learned tokens receive gradients.

Letters: N images, C identities, E width of the shared space, B batch.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import EncoderError
from reid.domain.events import Stage
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import Embedder
from reid.domain.services.freezing import freeze_text
from reid.domain.services.stage_loop import StageLoop
from reid.domain.training.objectives import Objective, prompt_objective
from reid.domain.training.optimizers import prompt_optimizer
from reid.domain.training.prompts import PromptLearner
from reid.domain.training.sampling import shuffled_batches
from reid.domain.training.schedules import prompt_learning_rate
from reid.domain.transfers import to_device
from reid.domain.values.checkpoints import CHECKPOINT_VERSION, PROMPTS_FORMAT, Checkpoint, digest_of
from reid.domain.values.prompts import PromptEmbedding
from reid.domain.values.recipes import PromptLearningRecipe
from reid.domain.values.samples import Sample, Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.events import EventListener
from reid.ports.image_encoder import TrainableEncoder
from reid.ports.runs import RunStore
from reid.ports.text_encoder import TextEncoder

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
        encoder: TrainableEncoder,
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
        self._recipe = recipe
        self._seed = seed
        self._loop = StageLoop(
            name=Stage.PROMPTS,
            result=PROMPTS,
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
            DatasetError: The training images cannot be read.
            EncoderError: As `check`.
            CheckpointError: The run store cannot be read or written.
        """
        finished = self._loop.finished()
        if finished is not None:
            return finished
        samples = self._dataset.samples(Split.TRAIN)
        stage = self._stage(samples)
        losses = self._loop.train(stage)
        return self._loop.finish(self._checkpoint(stage, samples=samples, losses=losses))

    def check(self) -> None:
        """Find out whether the encoder can read prompts such as the recipe's.

        Raises:
            EncoderError: It has no text tower, or the prompts are too long for it.
        """
        self._embed_template()

    def _embed_template(self) -> PromptEmbedding:
        return self._text().embed_template(
            self._recipe.template, num_context_tokens=self._recipe.num_context_tokens
        )

    def _text(self) -> TextEncoder:
        if self._encoder.text is None:
            description = self._encoder.description
            raise EncoderError(
                f"encoder.weights: {description.name} ({description.weights}) has no text encoder, "
                "so prompts cannot be learned; start from a whole CLIP model such as OpenAI's, or "
                "set finetuning.image_to_text_weight to 0 and train without prompts"
            )
        return self._encoder.text

    def _stage(self, samples: Sequence[Sample]) -> "_PromptStage":
        freeze_text(self._encoder, freezes_images=True)
        label_of = labels_by_pid(samples)
        learner = PromptLearner(
            self._embed_template(),
            num_identities=len(label_of),
            num_context_tokens=self._recipe.num_context_tokens,
            generator=generator_for(self._seed, "prompts", "initialise"),
        ).to(self._encoder.device)
        return _PromptStage(
            text=self._text(),
            learner=learner,
            features=self._embedder.project(
                self._dataset.reader, [sample.name for sample in samples], subset=Split.TRAIN
            ),
            labels=torch.tensor([label_of[sample.pid] for sample in samples]),
            recipe=self._recipe,
            seed=self._seed,
        )

    def _checkpoint(
        self, stage: "_PromptStage", *, samples: Sequence[Sample], losses: Mapping[str, float]
    ) -> Checkpoint:
        description = self._encoder.description
        return Checkpoint(
            tensors={
                "prompt_learner.cls_ctx": stage.learner.cls_ctx.detach(),
                TEXT_FEATURES: stage.text_features(),
            },
            header={
                "format": PROMPTS_FORMAT,
                "version": CHECKPOINT_VERSION,
                "encoder": description.name,
                "weights": description.weights,
                "encoder_digest": digest_of(self._encoder.state()),
                "template": self._recipe.template,
                "pids": list(labels_by_pid(samples)),
                "losses": dict(losses),
            },
        )


class _PromptStage:
    """Context tokens that learn against cached image features."""

    def __init__(
        self,
        *,
        text: TextEncoder,
        learner: PromptLearner,
        features: Tensor,
        labels: Tensor,
        recipe: PromptLearningRecipe,
        seed: int,
    ) -> None:
        self.learner = learner
        self.optimizer = prompt_optimizer(learner, recipe)
        self._text = text
        self._features = features  # (N, E)
        self._labels = labels  # (N,), on the CPU: the device would be held up to count them
        self._batch_size = recipe.batch_size
        self._seed = seed

    def batches(self, epoch: int) -> Sequence[Tensor]:
        generator = generator_for(self._seed, "prompts", "batches", epoch)
        return shuffled_batches(len(self._labels), self._batch_size, generator)

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:  # noqa: ARG002 nothing random in a step
        labels = self._labels[rows]  # (B,)
        # One text pass per distinct identity, then one row per image: differs from CLIP-ReID,
        # which encodes a prompt as often as its identity occurs, to the same result.
        distinct, row_of = torch.unique(labels, return_inverse=True)
        # F.embedding, because the gradient of plain indexing is summed in any order.
        send = partial(to_device, self._features.device)
        texts = F.embedding(send(row_of), self._describe(send(distinct)))  # (B, E)
        return prompt_objective(self._features[send(rows)], texts, labels=send(labels))

    def _describe(self, labels: Tensor) -> Tensor:
        return self._text.encode_prompts(self.learner(labels), prefix=self.learner.prefix)

    @torch.no_grad()
    def text_features(self) -> Tensor:
        """Describe the prompts of all identities: (C, E)."""
        rows = torch.arange(len(self.learner.cls_ctx), device=self.learner.cls_ctx.device)
        return torch.cat([self._describe(chunk) for chunk in torch.split(rows, _TEXT_CHUNK)])

    def after_step(self) -> None:
        """Nothing follows the learned tokens."""

    def state(self) -> dict[str, Tensor]:
        return {"cls_ctx": self.learner.cls_ctx.detach()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            self.learner.cls_ctx.copy_(state["cls_ctx"])
