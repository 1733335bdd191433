"""Stage 1: learn a prompt for each training identity.

CLIP-ReID (Li et al. 2023, arXiv:2211.13977), section 3.2. Both encoders are frozen, so the images
are encoded once, and only the prompts' learned tokens receive gradients.

Letters: N images, C identities, E width of the shared space, B batch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import EncoderError
from reid.domain.events import Stage
from reid.domain.memory import to_device
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import Embedder
from reid.domain.services.freezing import freeze_text
from reid.domain.services.stage_loop import StageLoop
from reid.domain.training.objectives import Objective, prompt_objective
from reid.domain.training.optimizers import prompt_optimizer
from reid.domain.training.prompts import PromptLearner
from reid.domain.training.sampling import shuffled_batches
from reid.domain.training.schedules import prompt_learning_rate
from reid.domain.values.checkpoints import PROMPTS_FORMAT, Checkpoint, digest_of
from reid.domain.values.features import PromptEmbedding
from reid.domain.values.recipes import PromptLearningRecipe
from reid.domain.values.samples import Sample, Split, labels_by_pid
from reid.ports.dataset import Dataset
from reid.ports.image_encoder import TrainableEncoder
from reid.ports.text_encoder import TextEncoder

TEXT_FEATURES = "text_features"  # name of the (C, E) tensor that stage 2 learns from
_TEXT_CHUNK = 64  # prompts that go through the text encoder at once after the training


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptLearning:
    """Learns context tokens for every training identity."""

    encoder: TrainableEncoder
    dataset: Dataset
    embedder: Embedder
    loop: StageLoop
    recipe: PromptLearningRecipe
    seed: int

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
        finished = self.loop.finished(Stage.PROMPTS, self.recipe.epochs)
        if finished is not None:
            return finished
        samples = self.dataset.samples(Split.TRAIN)
        stage = self._stage(samples)
        losses = self.loop.train(stage)
        return self.loop.finish(
            stage.name,
            PROMPTS_FORMAT,
            {
                "prompt_learner.cls_ctx": stage.learner.cls_ctx.detach(),
                TEXT_FEATURES: stage.text_features(),
            },
            header={
                "encoder": self.encoder.description.name,
                "weights": self.encoder.description.weights,
                "encoder_digest": digest_of(self.encoder.state()),
                "template": self.recipe.template,
                "pids": list(labels_by_pid(samples)),
            },
            losses=losses,
        )

    def check(self) -> None:
        """Check that the encoder can read prompts such as the recipe's.

        Raises:
            EncoderError: It has no text tower, or the prompts are too long for it.
        """
        self._embed_template()

    def _embed_template(self) -> PromptEmbedding:
        return self._text().embed_template(
            self.recipe.template, num_context_tokens=self.recipe.num_context_tokens
        )

    def _text(self) -> TextEncoder:
        if self.encoder.text is None:
            description = self.encoder.description
            reason = f" ({description.without_text})" if description.without_text else ""
            raise EncoderError(
                f"encoder.weights: {description.name} ({description.weights}) has no text encoder"
                f"{reason}, so prompts cannot be learned; name weights that have one "
                "(encoder.text_weights, for CLIP's own kinds), start from a whole CLIP model such "
                "as OpenAI's, or set finetuning.image_to_text_weight to 0 and train without prompts"
            )
        return self.encoder.text

    def _stage(self, samples: Sequence[Sample]) -> "_PromptStage":
        freeze_text(self.encoder, freezes_images=True)
        label_of = labels_by_pid(samples)
        learner = PromptLearner(
            self._embed_template(),
            num_identities=len(label_of),
            num_context_tokens=self.recipe.num_context_tokens,
            generator=generator_for(self.seed, "prompts", "initialise"),
        ).to(self.encoder.device)
        return _PromptStage(
            text=self._text(),
            learner=learner,
            features=self.embedder.project(
                self.dataset.reader, [sample.name for sample in samples], subset=Split.TRAIN
            ),
            labels=torch.tensor([label_of[sample.pid] for sample in samples]),
            recipe=self.recipe,
            seed=self.seed,
        )


@dataclass(eq=False)
class _PromptStage:
    """Context tokens that learn against cached image features."""

    text: TextEncoder
    learner: PromptLearner
    features: Tensor  # (N, E)
    labels: Tensor  # (N,), on the CPU: the device would be held up to count them
    recipe: PromptLearningRecipe
    seed: int

    name = Stage.PROMPTS
    batch_settings = "prompts.batch_size"

    def __post_init__(self) -> None:
        self.optimizer = prompt_optimizer(self.learner, self.recipe)
        self.num_epochs = self.recipe.epochs

    def learning_rate(self, epoch: int) -> float:
        return prompt_learning_rate(epoch, self.recipe)

    def batches(self, epoch: int) -> Sequence[Tensor]:
        generator = generator_for(self.seed, "prompts", "batches", epoch)
        return shuffled_batches(len(self.labels), self.recipe.batch_size, generator)

    def objective(self, rows: Tensor, *, epoch: int, step: int) -> Objective:  # noqa: ARG002 nothing random in a step
        labels = self.labels[rows]  # (B,)
        # One text pass per distinct identity, then one row per image: differs from CLIP-ReID,
        # which encodes a prompt as often as its identity occurs, to the same result.
        distinct, row_of = torch.unique(labels, return_inverse=True)
        # F.embedding, because the gradient of plain indexing is summed in any order.
        send = partial(to_device, self.features.device)
        texts = F.embedding(send(row_of), self._describe(send(distinct)))  # (B, E)
        return prompt_objective(self.features[send(rows)], texts, labels=send(labels))

    def _describe(self, labels: Tensor) -> Tensor:
        return self.text.encode_prompts(self.learner(labels), prefix=self.learner.prefix)

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
