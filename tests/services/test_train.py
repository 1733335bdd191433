"""The training use case on fakes."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from reid.application.check_dataset import count_splits
from reid.application.evaluate import Evaluate, EvaluateRun
from reid.application.train import Train, TrainingRequest, TrainingScope
from reid.domain.errors import CheckpointError, ConfigurationError, EncoderError, ReidError
from reid.domain.services.embedding import Embedder
from reid.domain.services.screening import ScreenedDataset
from reid.domain.values.samples import Split, SplitStatistics
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.map_maker import FakeMapMaker
from tests.fakes.run_store import FakeRunStore
from tests.fakes.vector_index import FakeIndex
from tests.services.training import FINE_TUNING, PROMPTS, Laboratory


@dataclass
class Workshop:
    """A use case around a laboratory."""

    laboratory: Laboratory = field(default_factory=Laboratory)
    earlier: FakeRunStore | None = None
    fingerprint: dict[str, int] = field(default_factory=lambda: {"seed": 7})

    def use_case(self) -> Train:
        laboratory = self.laboratory
        embedder = Embedder(encoder=laboratory.encoder, listener=laboratory.listener)
        return Train(
            dataset=ScreenedDataset(laboratory.dataset, skips_bad=False),
            prompt_learning=laboratory.prompt_learning(),
            fine_tuning=laboratory.encoder_tuning(),
            evaluate=EvaluateRun(
                evaluate=Evaluate(
                    encoder=laboratory.encoder,
                    dataset=laboratory.dataset,
                    embedder=embedder,
                    index=FakeIndex(),
                    map_maker=FakeMapMaker(),
                ),
                runs=laboratory.runs,
                settings={},
                environment={},
            ),
            runs=laboratory.runs,
            fingerprint=self.fingerprint,
            environment={"torch": torch.__version__},
            earlier=self.earlier,
        )

    def run(
        self,
        scope: TrainingScope = TrainingScope.ALL,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> FakeRunStore:
        request = TrainingRequest(scope=scope, resume=resume, overwrite=overwrite)
        self.use_case().run(request)
        return self.laboratory.runs


def test_the_dataset_is_counted_split_by_split() -> None:
    assert count_splits(FakeDataset()) == (
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
    assert runs.records["run"]["environment"] == {"torch": torch.__version__}


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
    with pytest.raises(CheckpointError, match=r"run\.prompts.*image_to_text_weight"):
        Workshop(earlier=FakeRunStore()).run(TrainingScope.ENCODER)


def test_a_second_run_in_the_same_place_needs_resume() -> None:
    runs = Workshop().run()
    with pytest.raises(CheckpointError, match="resume"):
        Workshop(Laboratory(runs=runs)).run()
    Workshop(Laboratory(runs=runs)).run(resume=True)


def test_a_run_is_not_resumed_on_other_images() -> None:
    runs = Workshop().run(TrainingScope.PROMPTS)
    laboratory = Laboratory(runs=runs, dataset=FakeDataset(identities=5))
    with pytest.raises(CheckpointError, match=r"dataset\.digest"):
        Workshop(laboratory).run(resume=True)


def test_the_encoder_that_is_scored_is_the_trained_one() -> None:
    workshop = Workshop()
    trained = workshop.use_case().run(TrainingRequest()).evaluation
    loaded = Workshop(Laboratory(runs=workshop.laboratory.runs, encoder=FakeEncoder()))
    assert loaded.use_case().run(TrainingRequest(resume=True)).evaluation == trained
    assert trained is not None
    assert trained.encoder.weights == "trained from random (seed 0)"


def test_nothing_is_deleted_for_a_run_that_cannot_start() -> None:
    finished = Workshop().run()
    kept = dict(finished.checkpoints)
    batch = replace(FINE_TUNING, identities_per_batch=9)
    hopeless = (
        (Workshop(Laboratory(runs=finished, fine_tuning=batch)), TrainingScope.ALL),
        (Workshop(Laboratory(runs=finished), earlier=FakeRunStore()), TrainingScope.ENCODER),
        (Workshop(Laboratory(runs=finished), earlier=finished), TrainingScope.ENCODER),
        (Workshop(Laboratory(runs=finished), earlier=finished), TrainingScope.ALL),
        (
            Workshop(Laboratory(runs=finished, dataset=FakeDataset(cameras=1))),
            TrainingScope.ALL,
        ),
    )
    for workshop, scope in hopeless:
        with pytest.raises(ReidError):
            workshop.run(scope, overwrite=True)
        assert finished.checkpoints == kept


def test_a_failed_start_does_not_stand_in_the_way_of_the_next() -> None:
    runs = FakeRunStore()
    with pytest.raises(CheckpointError, match="has no finished prompts"):
        Workshop(Laboratory(runs=runs), earlier=FakeRunStore()).run(TrainingScope.ENCODER)
    earlier = Workshop().run(TrainingScope.PROMPTS)
    Workshop(Laboratory(runs=runs), earlier=earlier).run(TrainingScope.ENCODER)


@pytest.mark.parametrize("scope", [TrainingScope.ALL, TrainingScope.PROMPTS])
def test_an_encoder_that_cannot_read_prompts_is_found_out_before_a_run_begins(
    scope: TrainingScope,
) -> None:
    runs = FakeRunStore()
    endless = replace(PROMPTS, num_context_tokens=99)
    with pytest.raises(EncoderError, match="longer than"):
        Workshop(Laboratory(runs=runs, prompts=endless)).run(scope)
    assert not runs.records
    Workshop(Laboratory(runs=runs)).run(scope)


def test_the_encoder_is_trained_anew_on_its_own_prompts_only_where_that_is_wanted() -> None:
    runs = Workshop().run()
    with pytest.raises(CheckpointError, match=r"trained an encoder already.*overwrite"):
        Workshop(Laboratory(runs=runs)).run(TrainingScope.ENCODER)
    again = Workshop(Laboratory(runs=runs))
    again.run(TrainingScope.ENCODER, overwrite=True)
    assert len(again.laboratory.epochs()) == FINE_TUNING.epochs
    assert set(runs.checkpoints) == {"prompts", "encoder"}


def test_a_trained_encoder_outlives_a_retraining_that_other_settings_forbid() -> None:
    runs = Workshop().run()
    kept = dict(runs.checkpoints)
    with pytest.raises(CheckpointError, match="seed: 7 then, 8 now"):
        Workshop(Laboratory(runs=runs), fingerprint={"seed": 8}).run(
            TrainingScope.ENCODER, overwrite=True
        )
    assert runs.checkpoints == kept


def test_a_run_is_not_resumed_on_other_prompts() -> None:
    one, other = (
        Workshop(Laboratory(prompts=replace(PROMPTS, epochs=epochs))).run(TrainingScope.PROMPTS)
        for epochs in (1, 2)
    )
    runs = Workshop(earlier=one).run(TrainingScope.ENCODER)
    with pytest.raises(CheckpointError, match=r"prompts\.digest"):
        Workshop(Laboratory(runs=runs), earlier=other).run(TrainingScope.ENCODER, resume=True)


def test_prompts_do_not_bind_the_settings_of_the_second_stage() -> None:
    runs = FakeRunStore()
    first = Workshop(Laboratory(runs=runs), fingerprint={"seed": 7, "finetuning.epochs": 9})
    first.run(TrainingScope.PROMPTS)
    second = Workshop(Laboratory(runs=runs), fingerprint={"seed": 7, "finetuning.epochs": 4})
    second.run(TrainingScope.ENCODER)
    third = Workshop(Laboratory(runs=runs), fingerprint={"seed": 7, "finetuning.epochs": 5})
    with pytest.raises(CheckpointError, match=r"finetuning\.epochs"):
        third.run(TrainingScope.ENCODER, resume=True)


def test_requests_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        Workshop().run(resume=True, overwrite=True)
    for scope in (TrainingScope.ALL, TrainingScope.PROMPTS):
        with pytest.raises(ConfigurationError, match="encoder's stage alone"):
            Workshop(earlier=FakeRunStore()).run(scope)


WITHOUT_PROMPTS = replace(FINE_TUNING, image_to_text_weight=0.0)


@pytest.mark.parametrize("scope", [TrainingScope.ALL, TrainingScope.ENCODER])
@pytest.mark.parametrize("has_text", [True, False])
def test_prompts_that_nothing_reads_are_neither_wanted_nor_learned(
    scope: TrainingScope,
    has_text: bool,  # noqa: FBT001
) -> None:
    laboratory = Laboratory(encoder=FakeEncoder(has_text=has_text), fine_tuning=WITHOUT_PROMPTS)
    runs = Workshop(laboratory).run(scope)
    assert set(runs.checkpoints) == {"encoder"}
    assert all(
        set(epoch.losses) == {"identity", "triplet", "total"} for epoch in laboratory.epochs()
    )
    with pytest.raises(CheckpointError, match="resume it"):
        Workshop(laboratory).run(scope)
    Workshop(laboratory).run(scope, resume=True)
    assert len(laboratory.epochs()) == WITHOUT_PROMPTS.epochs


def test_training_without_prompts_ends_where_prompts_of_no_weight_lead() -> None:
    alone = Workshop(Laboratory(fine_tuning=WITHOUT_PROMPTS)).run(TrainingScope.ENCODER)
    weightless = Laboratory(fine_tuning=WITHOUT_PROMPTS)
    beside = weightless.encoder_tuning().run(weightless.prompt_learning().run())
    for name, tensor in alone.checkpoints["encoder"].tensors.items():
        assert torch.equal(tensor, beside.tensors[name]), name


def test_training_without_prompts_leaves_finished_ones_alone() -> None:
    runs = Workshop().run(TrainingScope.PROMPTS)
    prompts = runs.checkpoints["prompts"]
    Workshop(Laboratory(runs=runs, fine_tuning=WITHOUT_PROMPTS)).run(TrainingScope.ENCODER)
    assert runs.checkpoints["prompts"] is prompts
    assert "encoder" in runs.checkpoints


@pytest.mark.parametrize("scope", [TrainingScope.ALL, TrainingScope.PROMPTS])
def test_an_encoder_without_text_tower_learns_no_prompts_and_says_what_to_set(
    scope: TrainingScope,
) -> None:
    runs = FakeRunStore()
    laboratory = Laboratory(runs=runs, encoder=FakeEncoder(has_text=False))
    with pytest.raises(
        EncoderError, match=r"no text encoder.*finetuning\.image_to_text_weight to 0"
    ):
        Workshop(laboratory).run(scope)
    assert not runs.records
