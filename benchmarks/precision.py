"""What bfloat16 changes of a trained encoder's answers: nearest neighbours and mAP.

A small encoder is trained on drawn people, then describes other ones. Set `BENCHMARK_RUN` to
a training run's folder to have its encoder measured on its own dataset too.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from torch import Tensor

from benchmarks.harness import Row, Scale, compare
from reid.adapters.synthetic.generator import DrawnDataset
from reid.application.train import TrainingRequest
from reid.container.root import Container
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.samples import Split
from reid.settings.loading import load_settings, with_trained_encoder

AGREEMENT_GOAL = 0.995
MAP_GOAL = 0.05
"""Percentage points."""


@dataclass(frozen=True)
class Size:
    """How much work."""

    epochs: int
    identities: int
    test_identities: int
    runs: int


FULL = Size(epochs=30, identities=48, test_identities=96, runs=3)
USUAL = Size(epochs=10, identities=24, test_identities=48, runs=1)
QUICK = Size(epochs=1, identities=16, test_identities=4, runs=1)


def rows(scale: Scale) -> Iterator[Row]:
    """Train on drawn people and compare the precisions."""
    size = scale.choose(QUICK, USUAL, FULL)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        yield from _rows_of(_train(folder, size), folder / "people", scratch=folder, runs=size.runs)
        trained = os.environ.get("BENCHMARK_RUN")
        root = os.environ.get("REID_MARKET1501_ROOT")
        if trained and root:
            yield from _rows_of(Path(trained), Path(root), scratch=folder / "real", runs=1)


def _train(folder: Path, size: Size) -> Path:
    DrawnDataset(
        identities=size.identities,
        test_identities=size.test_identities,
        images_per_camera=3,
        cameras=4,
    ).draw(folder / "people")
    resolved = load_settings(
        options={
            "recipe": "tiny",
            "dataset.root": folder / "people",
            "run.directory": folder / "run",
            "prompts.epochs": size.epochs,
            "finetuning.epochs": size.epochs,
        }
    )
    Container(settings=resolved.settings).train().run(TrainingRequest())
    return folder / "run"


def _rows_of(run: Path, root: Path, *, scratch: Path, runs: int) -> Iterator[Row]:
    options: dict[str, object] = {"run.directory": run, "dataset.root": root}
    exact = _Encoder(options)
    ways = {"torch bf16": _Encoder(options | {"encoder.precision": "bf16"})}
    if find_spec("openvino") is not None:
        ways["openvino bf16"] = _Encoder(
            {"dataset.root": root, "encoder.weights": str(_export(options, scratch / "exported"))}
        )
    for way, ours in ways.items():
        yield _row(way, ours, exact, runs=runs)


def _export(options: Mapping[str, object], folder: Path) -> Path:
    container = _container(options)
    place = container.export_place(folder, "openvino", precision="bf16", overwrite=False)
    container.export().run(place)
    return folder


def _container(options: Mapping[str, object]) -> Container:
    return Container(settings=with_trained_encoder(load_settings(options=options)), num_cameras=0)


class _Encoder:
    """An encoder with the dataset it is asked about."""

    def __init__(self, options: Mapping[str, object]) -> None:
        container = _container(options)
        self._embedder = container.embedder()
        self._dataset = container.dataset()
        self.described: tuple[EmbeddingSet, EmbeddingSet] | None = None

    @property
    def name(self) -> str:
        """What is described."""
        return self._dataset.name

    def describe(self) -> None:
        """Embed queries and gallery."""
        query, gallery = (
            self._embedder.embed_samples(
                self._dataset.reader, self._dataset.samples(split), subset=split
            )
            for split in (Split.QUERY, Split.GALLERY)
        )
        self.described = query, gallery


def _nearest(query: EmbeddingSet, gallery: EmbeddingSet) -> Tensor:
    """Find the nearest gallery row of every query: (Q,)."""
    return (query.vectors @ gallery.vectors.T).argmax(dim=1)


def _mean_ap(query: EmbeddingSet, gallery: EmbeddingSet) -> float:
    """Score, in percent."""
    scores = score_embeddings(query, gallery)
    return 100 * float(scores.average_precision[scores.is_valid].mean())


def _row(way: str, ours: _Encoder, exact: _Encoder, *, runs: int) -> Row:
    timing = compare(ours.describe, exact.describe, runs=runs, warmup=0)
    if ours.described is None or exact.described is None:
        raise RuntimeError("nothing was described")
    agreement = (_nearest(*exact.described) == _nearest(*ours.described)).double().mean().item()
    mean_aps = _mean_ap(*exact.described), _mean_ap(*ours.described)
    change = mean_aps[1] - mean_aps[0]
    return Row(
        part=f"trained encoder on {exact.name}, {len(exact.described[0])} queries",
        ours=way,
        plain="torch fp32",
        goal=f">= {AGREEMENT_GOAL:.1%} of nearest neighbours, mAP within {MAP_GOAL}",
        is_met=agreement >= AGREEMENT_GOAL and abs(change) <= MAP_GOAL,
        exactness=(
            f"nearest neighbour equal for {agreement:.2%}, mAP {mean_aps[0]:.2f} -> "
            f"{mean_aps[1]:.2f} ({change:+.3f})"
        ),
        details={"agreement": agreement, "mean_ap_change": change},
        **asdict(timing),
    )
