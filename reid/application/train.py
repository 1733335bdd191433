"""Train an encoder on a dataset: both stages or one of them, then evaluate."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import cast

from reid.application.evaluate import Evaluate, EvaluationOutcome
from reid.domain.errors import CheckpointError
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.prompt_learning import PROMPTS, PromptLearning
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.samples import Sample, Split, SplitStatistics
from reid.ports.dataset import Dataset
from reid.ports.runs import RunStore

EVALUATION = "evaluation"
"""Name of the report that ends a run."""


class TrainingScope(StrEnum):
    """Which stages to run."""

    ALL = "all"
    PROMPTS = "prompts"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What is wanted of this call."""

    scope: TrainingScope = TrainingScope.ALL
    resume: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """What a training call came to."""

    scope: TrainingScope
    evaluation: EvaluationOutcome | None
    """None where only prompts were learned: they change no ranking."""


class Train:
    """Runs the training stages and evaluates what comes out."""

    def __init__(
        self,
        *,
        dataset: Dataset,
        prompt_learning: PromptLearning,
        fine_tuning: FineTuning,
        evaluate: Evaluate,
        runs: RunStore,
        decisive: Mapping[str, JsonValue],
        circumstances: Mapping[str, JsonValue],
        earlier: RunStore | None = None,
    ) -> None:
        """Keep the parts.

        Args:
            dataset: Trained and evaluated on.
            prompt_learning: Stage 1.
            fine_tuning: Stage 2.
            evaluate: Scores the trained encoder.
            runs: Where this run keeps what it makes.
            decisive: The settings that decide the result.
            circumstances: Versions and the like.
            earlier: Another run whose prompts stage 2 starts from; None: this run's own.
        """
        self._dataset = dataset
        self._prompt_learning = prompt_learning
        self._fine_tuning = fine_tuning
        self._evaluate = evaluate
        self._runs = runs
        self._decisive = decisive
        self._circumstances = circumstances
        self._earlier = earlier

    def statistics(self) -> tuple[SplitStatistics, ...]:
        """Count what the dataset holds."""
        return tuple(SplitStatistics.of(split, self._dataset.samples(split)) for split in Split)

    def run(self, request: TrainingRequest) -> TrainingOutcome:
        """Train, from the beginning or from the last saved state.

        Raises:
            CheckpointError: The run's place is taken, or holds another run, or prompts are missing.
            ConfigurationError: The recipe does not fit the dataset.
            DatasetError: Pictures cannot be read.
            EvaluationError: The dataset allows no evaluation; the trained encoder is kept.
        """
        self._begin(request)
        evaluation = None
        if request.scope is TrainingScope.PROMPTS:
            self._prompt_learning.run()
        else:
            self._fine_tuning.run(self._prompts(request.scope))
            evaluation = self._evaluate.run()
            self._runs.record(EVALUATION, cast("dict[str, JsonValue]", asdict(evaluation)))
        return TrainingOutcome(scope=request.scope, evaluation=evaluation)

    def _begin(self, request: TrainingRequest) -> None:
        goes_on = request.scope is TrainingScope.ENCODER and self._earlier is None
        train = self._dataset.samples(Split.TRAIN)
        self._runs.begin(
            dict(self._decisive) | {"dataset.digest": _digest(train)},
            self._circumstances,
            resume=request.resume or goes_on,
        )

    def _prompts(self, scope: TrainingScope) -> Checkpoint:
        if scope is TrainingScope.ALL and self._earlier is None:
            return self._prompt_learning.run()
        prompts = (self._earlier or self._runs).load(PROMPTS)
        if prompts is None:
            raise CheckpointError(
                "no finished prompts to start from: run --stage prompts first, or name the run "
                "that has them by --prompts"
            )
        return prompts


def _digest(samples: Sequence[Sample]) -> str:
    """Tell one training list from another: names, identities and cameras, not pixels."""
    lines = (f"{sample.image}\t{sample.pid}\t{sample.camid}\n" for sample in samples)
    return sha256("".join(lines).encode()).hexdigest()
