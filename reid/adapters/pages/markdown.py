"""The results page in Markdown, with its figures beside it."""

import re
from dataclasses import dataclass
from pathlib import Path

from reid.adapters.pages.charts import draw_curves
from reid.adapters.pages.documents import render_text, write_page
from reid.domain.values.evaluations import NUM_RESAMPLES, SIGNIFICANCE, EvaluationRecord
from reid.domain.values.model_cards import ModelCard
from reid.domain.values.results import Ablation, Results

CURVES = "curves.svg"
CARD_MEASURES = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
TOLD_MEASURES = ("mAP", "Rank-1")  # measures in which runs are compared
_MANY_SEEDS = 6
"""The range of this many normal draws is 2.5 standard deviations on average, of two 1.1."""


@dataclass(frozen=True, slots=True)
class MarkdownPage:
    """A Markdown file, and a folder of the same name with a folder for each run."""

    path: Path

    def write(self, results: Results) -> tuple[str, ...]:
        """Replace the page and its figures."""
        figures = [
            write_page(self.folder_of(run.name) / CURVES, draw_curves(run.curves))
            for run in results.runs
            if run.curves
        ]
        place = self.path.name if self.path.is_absolute() else self.path.as_posix()
        text = render_page(results, folder=self.path.stem, place=place)
        return (write_page(self.path, text), *figures)

    def folder_of(self, run: str) -> Path:
        """Return the folder of a run's figure and records."""
        return self.path.with_suffix("") / run


def render_page(results: Results, *, folder: str, place: str = "docs/results.md") -> str:
    """Write the text of the page at `place`, which has figures in the `folder` beside it."""
    chance = [
        (pair, found)
        for pair in results.pairs
        for found in pair.differences
        if found.measure in TOLD_MEASURES and not found.is_significant
    ]
    written = render_text(
        "results.md",
        results=results,
        command=_command(results.ablation, place=place),
        cell=_cell,
        duration=_duration,
        protocol=_protocol,
        points=_points,
        percent=_percent,
        ablation=results.ablation,
        **(_effects(results.ablation) if results.ablation else {}),
        chance=chance,
        measures=TOLD_MEASURES,
        num_resamples=NUM_RESAMPLES,
        significance=f"{SIGNIFICANCE:g}",
        folder=folder,
        curves=CURVES,
    )
    return _closed_up(written)


def render_card(card: ModelCard) -> str:
    """Write the text of a model card."""
    written = render_text(
        "card.md",
        card=card,
        cell=_cell,
        duration=_duration,
        protocol=_protocol,
        percent=_percent,
        measures=CARD_MEASURES,
        num_resamples=NUM_RESAMPLES,
    )
    return _closed_up(written)


def _closed_up(written: str) -> str:
    """Take out the empty lines that omitted parts leave."""
    return re.sub(r"\n{3,}", "\n\n", written).rstrip() + "\n"


def _command(ablation: Ablation | None, *, place: str) -> str:
    """Return the command that makes the page from the records beside it."""
    if ablation is None:
        return "`reid report`"
    folder = place.removesuffix(".md")
    return f"`reid report {folder}/* --baseline {folder}/{ablation.baseline} --page {place}`"


def _protocol(record: EvaluationRecord) -> str:
    """Describe what differs from Market-1501's protocol with an exact search."""
    reranking = record.report.reranking
    words = {
        "same-camera": "same camera kept (not comparable)",
        "no-cameras": "camera embeddings unused",
    }
    if reranking is not None:
        words["reranked"] = (
            f"re-ranked (k1={reranking.k1}, k2={reranking.k2}, "
            f"lambda={reranking.original_weight:g})"
        )
    if not record.report.is_exact:
        kind = next(iter(set(record.variant) - words.keys()), "approximate")
        words[kind] = f"approximate search, recall {record.report.index_recall:.1%}"
    return ", ".join(words.get(one, one) for one in record.variant) or "standard"


def _effects(ablation: Ablation) -> dict[str, object]:
    """Judge each run by the spread of the baseline's seeds, and by chance."""
    seeds = {measure: ablation.scores_of_seeds(measure) for measure in TOLD_MEASURES}
    spreads = {measure: max(scores) - min(scores) for measure, scores in seeds.items()}
    judged = []
    for one in ablation.runs:
        effects = []
        for measure, spread in spreads.items():
            found = one.difference_in(measure)
            counts = "yes" if abs(found.difference) > spread else "within the seeds"
            effects.append((found, counts if found.is_significant else "no"))
        judged.append((one, effects))
    return {"judged": judged, "seeds": seeds, "spreads": spreads, "many_seeds": _MANY_SEEDS}


def _cell(value: object) -> str:
    text = "-" if value is None else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.2f}"


def _points(share: float) -> str:
    # + 0.0: no minus before a difference that rounds to nothing
    return f"{round(100 * share, 2) + 0.0:+.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
