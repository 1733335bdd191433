"""`python -m benchmarks.open_set [--docs FOLDER]`: fusion and unknown people on real vectors.

Takes Market-1501 vectors from the file that REID_MARKET1501_FEATURES names and measures, by the
program's own services over a gallery in memory, which fusion identifies most people, and how well
the half of the people that is left out of the gallery is rejected. Writes open-set.md and
open-set.svg: numbers only, no images.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.pages.charts import draw_open_set
from reid.application.calibrate import REPORTED_RATES
from reid.domain.ranking.fusion import mean_directions
from reid.domain.ranking.open_set import OpenSetTrials, summarise_trials
from reid.domain.seeding import generator_for
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.identifier import Identifier
from reid.domain.services.queries import OwnImages, Query
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint, NewImage
from reid.domain.values.open_set import Fusion, FusionRecipe, OpenSetReport, OperatingPoint
from reid.domain.values.samples import DISTRACTOR_PID, ListedImage

VARIABLE = "REID_MARKET1501_FEATURES"
SEED = 1234
ENTRY = AuditEntry(
    at="2026-01-01T00:00:00Z", action=AuditAction.BUILD, subject="benchmark", num_images=0
)


@dataclass(frozen=True)
class Figures:
    """Results of one fusion on one kind of query."""

    fusion: str
    kind: str
    num_queries: int
    rank_1: float
    """With all people in the gallery."""

    report: OpenSetReport
    """With half of them left out."""


def measure(queries: EmbeddingSet, gallery: EmbeddingSet) -> list[Figures]:
    """Measure every fusion with single images and with tracklets.

    A tracklet is a query and the gallery images of the same person by the same camera, which the
    protocol excludes from its answers. Each distractor is a person of its own: as one person they
    would compete less.
    """
    valid = _matched(queries, gallery)
    queries = EmbeddingSet(queries.vectors[valid], queries.pids[valid], queries.camids[valid])
    vectors = {"single images": queries.vectors, "tracklets": _tracklets(queries, gallery)}
    pids = torch.tensor(sorted(set(queries.pids.tolist())))
    order = torch.randperm(len(pids), generator=generator_for(SEED, "benchmark", "unknown people"))
    non_mated = set(pids[order[: len(pids) // 2]].tolist())
    whole, half = _gallery(gallery, without=set()), _gallery(gallery, without=non_mated)
    figures = []
    for fusion in Fusion:
        for kind, features in vectors.items():
            recipe = FusionRecipe(fusion=fusion)
            closed = _identify(queries, features, whole, recipe=recipe, non_mated=set())
            opened = _identify(queries, features, half, recipe=recipe, non_mated=non_mated)
            figures.append(
                Figures(
                    fusion=recipe.words(are_tracklets=False),
                    kind=kind,
                    num_queries=len(queries),
                    rank_1=float(closed.is_right.double().mean()),
                    report=summarise_trials(opened, REPORTED_RATES),
                )
            )
            print(figures[-1], file=sys.stderr)
    return figures


def _matched(queries: EmbeddingSet, gallery: EmbeddingSet) -> Tensor:
    """Find the queries that another camera's image in the gallery can answer."""
    same = queries.pids[:, None] == gallery.pids[None, :]  # (Q, G)
    other = queries.camids[:, None] != gallery.camids[None, :]  # (Q, G)
    return (same & other).any(dim=1)


def _tracklets(queries: EmbeddingSet, gallery: EmbeddingSet) -> Tensor:
    """Fuse each query with the gallery images of its person and camera: (Q, D)."""
    same = queries.pids[:, None] == gallery.pids[None, :]  # (Q, G)
    of_query, rows = (same & (queries.camids[:, None] == gallery.camids[None, :])).nonzero(
        as_tuple=True
    )
    return mean_directions(
        torch.cat([queries.vectors, gallery.vectors[rows]]),
        torch.cat([torch.arange(len(queries)), of_query]),
        num_groups=len(queries),
    )


def _label(pid: int, row: int) -> str:
    return f"distractor {row}" if pid == DISTRACTOR_PID else str(pid)


def _gallery(gallery: EmbeddingSet, *, without: set[int]) -> Gallery:
    kept = open_memory_gallery(create_index=ExactIndex)
    pids, camids = gallery.pids.tolist(), gallery.camids.tolist()
    rows = [row for row, pid in enumerate(pids) if pid not in without]
    images = [
        NewImage(
            name=str(row),
            source="Market-1501",
            content=str(row),
            label=_label(pids[row], row),
            camera=str(camids[row]),
        )
        for row in rows
    ]
    fingerprint = EncoderFingerprint(
        name="given", weights="given", digest="given", width=gallery.vectors.shape[1]
    )
    kept.add(images, gallery.vectors[rows], fingerprint=fingerprint, entry=ENTRY)
    return kept


def _identify(
    queries: EmbeddingSet,
    vectors: Tensor,
    gallery: Gallery,
    *,
    recipe: FusionRecipe,
    non_mated: set[int],
) -> OpenSetTrials:
    single = [
        Query(images=(ListedImage(str(row), str(pid), str(camid)),), own=OwnImages.OTHER_CAMERAS)
        for row, (pid, camid) in enumerate(
            zip(queries.pids.tolist(), queries.camids.tolist(), strict=True)
        )
    ]
    answers = Identifier(gallery, IdentificationOptions(recipe=recipe, top_k=1)).identify(
        single, vectors
    )
    return OpenSetTrials(
        similarities=torch.tensor([a.similarity for a in answers], dtype=torch.float64),
        is_known=torch.tensor([pid not in non_mated for pid in queries.pids.tolist()]),
        is_right=torch.tensor([answer.label == answer.true_label for answer in answers]),
    )


def load(path: Path) -> tuple[EmbeddingSet, EmbeddingSet]:
    """Read query and gallery vectors."""
    with np.load(path, allow_pickle=False) as file:
        queries, gallery = (
            EmbeddingSet(
                vectors=F.normalize(torch.from_numpy(file[f"{name}_features"]).float(), dim=1),
                pids=torch.from_numpy(file[f"{name}_pids"]).long(),
                camids=torch.from_numpy(file[f"{name}_camids"]).long(),
            )
            for name in ("query", "gallery")
        )
    return queries, gallery


def render(figures: Sequence[Figures]) -> str:
    """Write the page."""
    first = figures[0]
    closed = _table(
        ["fusion", *dict.fromkeys(one.kind for one in figures)],
        [
            [fusion, *(f"{one.rank_1:.2%}" for one in figures if one.fusion == fusion)]
            for fusion in dict.fromkeys(one.fusion for one in figures)
        ],
    )
    opened = _table(
        ["fusion", "queries", "Rank-1", *(f"DIR at FAR {rate:g}" for rate in REPORTED_RATES)],
        [
            [one.fusion, one.kind, f"{one.report.rank_1:.2%}", *map(_rate, one.report.points)]
            for one in figures
        ],
    )
    return PAGE.format(
        num_queries=first.num_queries,
        num_known=first.report.num_known,
        num_unknown=first.report.num_unknown,
        resolution=first.report.resolution,
        closed=closed,
        opened=opened,
    )


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _rate(point: OperatingPoint) -> str:
    if point.identification_rate is None:
        return "too few unknown people"
    return f"{point.identification_rate:.2%} (from {point.threshold:.3f})"


def curves(figures: Sequence[Figures]) -> Mapping[str, OpenSetReport]:
    """Name the lines of the plot."""
    words = {"single images": "single", "tracklets": "tracklet"}
    return {
        f"{one.fusion.split()[0]}, {words[one.kind]}": one.report
        for one in figures
        if not one.fusion.startswith("vote")
    }


PAGE = """\
# Unknown people

`python -m benchmarks.open_set` writes this page and overwrites edits. It measures on Market-1501,
with the 256-d vectors of a small public model (person-reidentification-retail-0288) instead of this
project's encoder: the numbers show the effect of fusion and thresholds, not the quality of the
encoder.

As in evaluation, a query is matched with images by other cameras only. Market-1501 has one query
image for each person and camera; a tracklet is that image and the gallery images of the same person
by the same camera, fused into their normalised mean. Each distractor counts as a person of its own.

## Which fusion

Rank-1: the share of {num_queries} queries that name the right person, everybody in the gallery.

{closed}

`best` is the similarity of a person's best image, `mean` that to the mean of the person's images.
In `vote`, the 5 nearest images each weigh exp(similarity / 0.07).

`identify` and `calibrate` use `best` by default. `mean` identifies more people, most of all with
tracklets. But it cannot be re-ranked, it compares only the people of the nearest images, and on
single images it does not reject unknown people better.

## Unknown people

Half of the people are left out of the gallery: {num_unknown} queries show unknown people,
{num_known} known ones. FAR is the share of unknown people's queries that get a name (FPIR of
ISO/IEC 19795-1). DIR is the share of known people's queries that name the right person at or above
the threshold (TPIR at rank 1). Each cell gives the DIR and, in brackets, the threshold. With so
many unknown people, false-accept rates come in steps of {resolution:.2g}. At FAR 0.001 the
threshold rests on one or two queries, so these figures vary widely with the choice of the half.
Rank-1 is the DIR without a threshold.

{opened}

![Identification rate over false-accept rate](open-set.svg)
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.open_set", description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), metavar="FOLDER")
    arguments = parser.parse_args()
    path = Path(os.environ.get(VARIABLE, ""))
    if not path.is_file():
        parser.error(f"name the file of Market-1501 vectors by {VARIABLE}")
    figures = measure(*load(path))
    (arguments.docs / "open-set.md").write_text(render(figures))
    (arguments.docs / "open-set.svg").write_text(draw_open_set(curves(figures)))


if __name__ == "__main__":
    main()
