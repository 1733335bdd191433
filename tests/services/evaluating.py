"""A trained run on fakes, and its evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from reid.application.evaluate import Evaluate, EvaluateRun, name_for
from reid.domain.services.embedding import Embedder
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.samples import Split, digest_of_samples
from reid.ports.runs import RunMode
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.map_maker import FakeMapMaker
from tests.fakes.run_records import FakeRunRecords
from tests.fakes.run_store import FakeRunStore
from tests.fakes.vector_index import FakeIndex


@dataclass
class Bench:
    """A run that was trained, and what it is evaluated by."""

    dataset: FakeDataset = field(default_factory=FakeDataset)
    encoder: FakeEncoder = field(default_factory=FakeEncoder)
    index: FakeIndex = field(default_factory=FakeIndex)
    runs: FakeRunStore = field(default_factory=FakeRunStore)
    reranking: RerankingRecipe | None = None
    remove_same_camera: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.runs.fingerprint is None:
            digest = digest_of_samples(self.dataset.samples(Split.TRAIN))
            self.runs.begin({"dataset.digest": digest}, {}, mode=RunMode.NEW)
            self.runs.save("encoder", Checkpoint(tensors=self.encoder.state()))

    def use_case(self) -> EvaluateRun:
        embedder = Embedder(encoder=self.encoder, listener=RecordingListener())
        ticks = count(10)
        return EvaluateRun(
            evaluate=Evaluate(
                encoder=self.encoder,
                dataset=self.dataset,
                embedder=embedder,
                index=self.index,
                map_maker=FakeMapMaker(),
                reranking=self.reranking,
                remove_same_camera=self.remove_same_camera,
            ),
            runs=self.runs,
            settings=self.settings,
            environment={"device": "cpu"},
            clock=lambda: float(next(ticks)),
        )

    def evaluate(self) -> str:
        use_case = self.use_case()
        _, record, _ = use_case.run()
        name = name_for(record, FakeRunRecords.of(self.runs))
        assert name is not None
        use_case.keep(record, name=name)
        return name
