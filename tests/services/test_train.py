"""The training use case on fakes."""

from dataclasses import dataclass, field

import pytest
import torch

from reid.application.evaluate import Evaluate
from reid.application.train import Train, TrainingRequest, TrainingScope
from reid.domain.errors import CheckpointError
from reid.domain.services.embedding import Embedder
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.samples import Split, SplitStatistics
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.run_store import FakeRunStore
from tests.fakes.vector_index import FakeIndex
from tests.services.training import Laboratory


@dataclass
class Workshop:
    """A use case around a laboratory."""

    laboratory: Laboratory = field(default_factory=Laboratory)
    earlier: FakeRunStore | None = None
    decisive: dict[str, int] = field(default_factory=lambda: {"seed": 7})

    def use_case(self) -> Train:
        laboratory = self.laboratory
        embedder = Embedder(encoder=laboratory.encoder, listener=laboratory.listener)
        return Train(
            dataset=laboratory.dataset,
            prompt_learning=laboratory.prompt_learning(),
            fine_tuning=laboratory.encoder_tuning(),
            evaluate=Evaluate(
                encoder=laboratory.encoder,
                dataset=laboratory.dataset,
                reidentification=Reidentification(embedder=embedder, index=FakeIndex()),
            ),
            runs=laboratory.runs,
            decisive=self.decisive,
            circumstances={"torch": torch.__version__},
            earlier=self.earlier,
        )

    def run(
        self, scope: TrainingScope = TrainingScope.ALL, *, resume: bool = False
    ) -> FakeRunStore:
        self.use_case().run(TrainingRequest(scope=scope, resume=resume))
        return self.laboratory.runs


def test_the_dataset_is_counted_split_by_split() -> None:
    assert Workshop().use_case().statistics() == (
        SplitStatistics(Split.TRAIN, 4, 16, 2),
        SplitStatistics(Split.QUERY, 3, 6, 2),
        SplitStatistics(Split.GALLERY, 4, 7, 2),
    )


def test_a_whole_run_keeps_prompts_encoder_and_scores() -> None:
    runs = Workshop().run()
    assert set(runs.checkpoints) == {"prompts", "encoder"}
    report = runs.records["evaluation"]["report"]
    assert isinstance(report, dict)
    assert report["num_queries"] == 6
    assert runs.records["run"]["circumstances"] == {"torch": torch.__version__}


def test_two_stages_one_by_one_come_to_the_same_as_both_at_once() -> None:
    together = Workshop().run()
    apart = FakeRunStore()
    Workshop(Laboratory(runs=apart)).run(TrainingScope.PROMPTS)
    assert set(apart.checkpoints) == {"prompts"}
    Workshop(Laboratory(runs=apart)).run(TrainingScope.ENCODER)
    for name in ("prompts", "encoder"):
        for key, tensor in together.checkpoints[name].tensors.items():
            assert torch.equal(tensor, apart.checkpoints[name].tensors[key])


def test_learning_prompts_alone_evaluates_nothing() -> None:
    outcome = Workshop().use_case().run(TrainingRequest(scope=TrainingScope.PROMPTS))
    assert outcome.evaluation is None


def test_the_encoder_can_start_from_another_runs_prompts() -> None:
    earlier = Workshop().run(TrainingScope.PROMPTS)
    runs = Workshop(earlier=earlier).run(TrainingScope.ENCODER)
    assert set(runs.checkpoints) == {"encoder"}


def test_an_encoder_without_prompts_says_how_to_get_them() -> None:
    with pytest.raises(CheckpointError, match="--stage prompts"):
        Workshop(earlier=FakeRunStore()).run(TrainingScope.ENCODER)


def test_a_second_run_in_the_same_place_needs_resume() -> None:
    runs = Workshop().run()
    with pytest.raises(CheckpointError, match="--resume"):
        Workshop(Laboratory(runs=runs)).run()
    Workshop(Laboratory(runs=runs)).run(resume=True)


def test_a_run_is_not_resumed_on_other_pictures() -> None:
    runs = Workshop().run(TrainingScope.PROMPTS)
    laboratory = Laboratory(runs=runs, dataset=FakeDataset(identities=5))
    with pytest.raises(CheckpointError, match=r"dataset\.digest"):
        Workshop(laboratory).run(resume=True)


def test_the_encoder_that_is_scored_is_the_trained_one() -> None:
    workshop = Workshop()
    trained = workshop.use_case().run(TrainingRequest()).evaluation
    loaded = Workshop(Laboratory(runs=workshop.laboratory.runs, encoder=FakeEncoder()))
    assert loaded.use_case().run(TrainingRequest(resume=True)).evaluation == trained
