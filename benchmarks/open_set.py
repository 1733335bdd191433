"""`python -m benchmarks.open_set [--docs FOLDER]`: fusion and unknown people on real vectors.

Measures on Market-1501 vectors from the file that REID_MARKET1501_FEATURES names, by the program's
own services over a gallery in memory: which fusion names most people rightly, and how well half of
the people, left out of the gallery, are told from the other half. Writes open-set.md and
open-set.svg; numbers only, no images.
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
    """What was measured of one fusion and one kind of query."""

    fusion: str
    asked: str
    num_questions: int
    rank_1: float
    """All people in the gallery."""

    report: OpenSetReport
    """Half of them left out."""


def measure(queries: EmbeddingSet, gallery: EmbeddingSet) -> list[Figures]:
    """Measure every fusion with single images and with tracklets.

    A tracklet is a query and the gallery images of the same person by the same camera, which by
    the protocol are no answers to it. Distractors are nobody twice, so each is a person of its own:
    as one person they would compete less.
    """
    valid = _matched(queries, gallery)
    asked = EmbeddingSet(queries.vectors[valid], queries.pids[valid], queries.camids[valid])
    vectors = {"single images": asked.vectors, "tracklets": _tracklets(asked, gallery)}
    pids = torch.tensor(sorted(set(asked.pids.tolist())))
    order = torch.randperm(len(pids), generator=generator_for(SEED, "benchmark", "unknown people"))
    non_mated = set(pids[order[: len(pids) // 2]].tolist())
    whole, half = _gallery(gallery, without=set()), _gallery(gallery, without=non_mated)
    figures = []
    for fusion in Fusion:
        for name, features in vectors.items():
            recipe = FusionRecipe(fusion=fusion)
            closed = _ask(asked, features, whole, recipe=recipe, non_mated=set())
            opened = _ask(asked, features, half, recipe=recipe, non_mated=non_mated)
            figures.append(
                Figures(
                    fusion=recipe.words(are_tracklets=False),
                    asked=name,
                    num_questions=len(asked),
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


def _ask(
    asked: EmbeddingSet,
    vectors: Tensor,
    gallery: Gallery,
    *,
    recipe: FusionRecipe,
    non_mated: set[int],
) -> OpenSetTrials:
    single = [
        Query(images=(ListedImage(str(row), str(pid), str(camid)),), own=OwnImages.OTHER_CAMERAS)
        for row, (pid, camid) in enumerate(
            zip(asked.pids.tolist(), asked.camids.tolist(), strict=True)
        )
    ]
    answers = Identifier(gallery, recipe=recipe, top_k=1).identify(single, vectors)
    return OpenSetTrials(
        similarities=torch.tensor([a.similarity for a in answers], dtype=torch.float64),
        is_known=torch.tensor([pid not in non_mated for pid in asked.pids.tolist()]),
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
        ["fusion", *dict.fromkeys(one.asked for one in figures)],
        [
            [fusion, *(f"{one.rank_1:.2%}" for one in figures if one.fusion == fusion)]
            for fusion in dict.fromkeys(one.fusion for one in figures)
        ],
    )
    opened = _table(
        ["fusion", "asked", "Rank-1", *(f"DIR at FAR {rate:g}" for rate in REPORTED_RATES)],
        [
            [one.fusion, one.asked, f"{one.report.rank_1:.2%}", *map(_rate, one.report.points)]
            for one in figures
        ],
    )
    return PAGE.format(
        num_questions=first.num_questions,
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
        f"{one.fusion.split()[0]}, {words[one.asked]}": one.report
        for one in figures
        if not one.fusion.startswith("vote")
    }


PAGE = """\
# People and unknown people

Written by `python -m benchmarks.open_set`; what is edited here is lost the next time. Measured on
Market-1501 with the 256-d vectors of a small public model (person-reidentification-retail-0288),
not of this project's encoder: the numbers show what fusion and thresholds do, not how good the
encoder is.

A query's own person is answered by other cameras only, as in evaluation. Market-1501 has one
query image for each person and camera; a tracklet is that image and the gallery images of the
same person by the same camera, fused into their normalised mean. Each distractor counts as a person
of its own.

## Which fusion

Share of {num_questions} asked that name the right person, everybody being in the gallery
(Rank-1):

{closed}

Best is the similarity of a person's best image, mean that to the mean of the person's images.
In the vote, the 5 nearest images each weigh exp(similarity / 0.07).

`identify` and `calibrate` take the best image unless told otherwise. The mean names more people
rightly, most of all for tracklets; but on single images it tells unknown people no better, it has
no re-ranked distance, and it looks only at the people of the nearest images.

## Unknown people

Half of the people are left out of the gallery: {num_unknown} asked are of unknown people,
{num_known} of people whom the gallery knows. FAR is the share of unknown people for whom somebody
is named (FPIR of ISO/IEC 19795-1), DIR the share of known people's asked that name the right
person at or above the threshold (TPIR at rank 1). Each cell gives the DIR and the similarity from
which on an answer counts. So many unknown people show false-accept rates in steps of
{resolution:.2g}; the row's Rank-1 is the DIR where every answer counts.

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
