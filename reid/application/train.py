"""Train an encoder on a dataset, in both stages or one of them, then evaluate it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from reid.application.evaluate import EvaluateRun, Evaluation
from reid.domain.errors import CheckpointError, ConfigurationError
from reid.domain.events import Stage
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.lineage import Parent
from reid.domain.services.prompt_learning import PromptLearning
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of
from reid.domain.values.evaluations import EVALUATION
from reid.domain.values.samples import Split, UnreadableImage, digest_of_samples
from reid.ports.runs import RunMode, RunStore


class TrainingScope(StrEnum):
    """Which stages to run."""

    ALL = "all"
    PROMPTS = "prompts"
    ENCODER = "encoder"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRequest:
    """What a training call should do."""

    scope: TrainingScope = TrainingScope.ALL
    resume: bool = False
    overwrite: bool = False
    """Discard the existing run; the encoder's stage alone keeps its own prompts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOutcome:
    """Outcome of a training call."""

    scope: TrainingScope
    evaluation: Evaluation | None  # None where only prompts were learned: they change no ranking
    left_out: tuple[UnreadableImage, ...] = ()  # unreadable training images, as requested


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Runs the training stages and evaluates the encoder."""

    dataset: ScreenedDataset
    prompt_learning: PromptLearning
    fine_tuning: FineTuning
    evaluate: EvaluateRun
    runs: RunStore
    fingerprint: Mapping[str, JsonValue]  # settings that decide the result
    environment: Mapping[str, JsonValue]
    write_card: Callable[[], object] | None = None
    """Describes the finished run beside its records; None: nothing does."""
    earlier: RunStore | None = None  # whose prompts stage 2 starts from; None: this run
    parent: RunStore | None = None  # finished run whose encoder and prompts stage 2 goes on from

    def run(self, request: TrainingRequest) -> TrainingOutcome:
        """Train, from the beginning or from the last saved state.

        Errors that can be foreseen are raised before anything is written or deleted.

        Raises:
            CheckpointError: The run's place is taken, or holds another run, or prompts are missing.
            ConfigurationError: The recipe does not fit the dataset, or the request itself.
            DatasetError: Images cannot be read.
            EncoderError: The encoder cannot read the prompts that are to be learned.
            EvaluationError: The dataset allows no evaluation by this protocol.
        """
        _check_request(request, self.runs, prompts=self.earlier, parent=self.parent)
        parent = None if self.parent is None else Parent.of(self.parent)
        prompts = None
        is_scored = request.scope is not TrainingScope.PROMPTS
        if is_scored:
            self.fine_tuning.check_recipe()
            self.evaluate.evaluate.check()
        if not is_scored or self._learns_prompts(request):
            self.prompt_learning.check()
        elif self.fine_tuning.needs_prompts:
            prompts = self._finished_prompts()
            self.fine_tuning.check_prompts(prompts, are_inherited=parent is not None)
        # Finds bad images before hours of work.
        self.dataset.require_readable(tuple(Split) if is_scored else (Split.TRAIN,))
        try:
            self._begin(request, prompts, parent)
            return self._work(request, prompts, parent)
        finally:
            self.runs.release()

    def _learns_prompts(self, request: TrainingRequest) -> bool:
        """Whether both stages run; prompts are learned only if the objective reads them."""
        return request.scope is TrainingScope.ALL and self.fine_tuning.needs_prompts

    def _work(
        self, request: TrainingRequest, prompts: Checkpoint | None, parent: Parent | None
    ) -> TrainingOutcome:
        left_out = self.dataset.left_out((Split.TRAIN,))
        if request.scope is TrainingScope.PROMPTS:
            self.prompt_learning.run()
            return TrainingOutcome(scope=request.scope, evaluation=None, left_out=left_out)
        if self._learns_prompts(request):
            prompts = self.prompt_learning.run()
        self.fine_tuning.run(prompts, parent=parent)
        evaluation, record, _ = self.evaluate.run()
        evaluation = replace(evaluation, encoder=evaluation.encoder.trained())
        self.evaluate.keep(replace(record, encoder=asdict(evaluation.encoder)), name=EVALUATION)
        if self.write_card is not None:
            self.write_card()
        return TrainingOutcome(scope=request.scope, evaluation=evaluation, left_out=left_out)

    def _finished_prompts(self) -> Checkpoint:
        source = self.earlier or self.parent or self.runs
        prompts = source.load(Stage.PROMPTS)
        if prompts is None:
            raise CheckpointError(
                f"{source.place} has no finished prompts to start from: learn them there first, "
                "name the run that has them (run.prompts), or train without prompts "
                "(finetuning.image_to_text_weight = 0)"
            )
        return prompts

    def _begin(
        self, request: TrainingRequest, prompts: Checkpoint | None, parent: Parent | None
    ) -> None:
        fingerprint = {
            name: value
            for name, value in self.fingerprint.items()
            if not name.startswith(_UNUSED_SETTINGS[request.scope])
        }
        fingerprint["dataset.digest"] = digest_of_samples(self.dataset.samples(Split.TRAIN))
        if prompts is not None:
            fingerprint["prompts.digest"] = digest_of(prompts.tensors)
        if parent is not None:
            fingerprint["parent.digest"] = parent.digest
        has_own_prompts = (
            request.scope is TrainingScope.ENCODER
            and self.earlier is self.parent is None
            and (prompts is not None or self.runs.load(Stage.PROMPTS) is not None)
        )
        if request.resume or has_own_prompts:
            mode = RunMode.GO_ON
        else:
            mode = RunMode.REPLACE if request.overwrite else RunMode.NEW
        starts_again = has_own_prompts and not request.resume
        if starts_again and not request.overwrite:
            self.fine_tuning.check_untrained()
        environment = dict(self.environment)
        if parent is not None:
            environment["parent"] = parent.record()
        if left_out := self.dataset.left_out((Split.TRAIN,)):
            environment["left_out"] = [asdict(bad) for bad in left_out]
        self.runs.begin(fingerprint, environment, mode=mode)
        # After `begin`, which refuses other settings: a refused run must lose nothing.
        if starts_again and request.overwrite:
            self.fine_tuning.forget()


_UNUSED_SETTINGS = {
    TrainingScope.ALL: (),
    TrainingScope.PROMPTS: ("finetuning.", "encoder.training_precision"),
    TrainingScope.ENCODER: ("prompts.",),
}
"""Settings that a scope's result does not depend on."""


def _check_request(
    request: TrainingRequest, runs: RunStore, *, prompts: RunStore | None, parent: RunStore | None
) -> None:
    if request.resume and request.overwrite:
        raise ConfigurationError("resuming and overwriting a run exclude each other")
    if prompts is not None and parent is not None:
        raise ConfigurationError(
            "run.prompts and run.parent exclude each other: a parent brings its own prompts"
        )
    for setting, named in (("run.prompts", prompts), ("run.parent", parent)):
        if named is None:
            continue
        if request.scope is not TrainingScope.ENCODER:
            raise ConfigurationError(
                f"{setting}: another run does not go with the scope {request.scope}; leave it out, "
                "or ask for the encoder's stage alone"
            )
        if named.place == runs.place:
            raise ConfigurationError(
                f"{setting}: {runs.place} is the run itself; name another one, or leave it out"
            )
