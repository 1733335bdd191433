"""The results page and its figures."""

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from reid.adapters.pages.charts import COLOURS, draw_curves, ticks
from reid.adapters.pages.markdown import MarkdownPage, render_page
from reid.domain.errors import CheckpointError
from reid.domain.values.evaluations import EvaluationRecord, ScoreDifference
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.results import (
    PUBLISHED_BASELINES,
    Ablation,
    AblationRow,
    Results,
    RunPair,
    RunSummary,
    SettingChange,
    StageCurves,
)
from tests.recorded import evaluation

SVG = "{http://www.w3.org/2000/svg}"
CURVES = StageCurves(stage="encoder", epochs=(1, 2, 3), losses={"total": (9.0, 4.0, 2.5)})
CONTENT, _ = evaluation([0.5, 0.75], [1, 2], query=["a.jpg", "b.jpg"])
RECORD = EvaluationRecord.parse("evaluation", CONTENT)
RUN = RunSummary(
    name="small",
    recipe="tiny",
    departures=(),
    encoder="rn-tiny, 64x32",
    initialisation="random",
    trained_on="people (8 people, 32 images)",
    seed=1,
    curves=(CURVES,),
    training_seconds=5400.0,
    device="cpu, 2 threads",
    evaluations=(RECORD,),
)
RESULTS = Results(runs=(RUN,), pairs=(), uncompared=(), published_baselines=PUBLISHED_BASELINES)


def difference(measure: str, *, p_value: float) -> ScoreDifference:
    return ScoreDifference(
        measure=measure, first=0.5, second=0.51, low=-0.01, high=0.03, p_value=p_value
    )


def page(results: Results) -> str:
    return render_page(results, folder="results")


def row_of(text: str, section: str, first: str) -> list[str]:
    body = text.split(f"## {section}", maxsplit=1)[1]
    line = next(line for line in body.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_run_has_a_row_with_what_it_was_and_took() -> None:
    assert row_of(page(RESULTS), "Runs", "small") == [
        "small", "tiny", "rn-tiny, 64x32", "random", "people (8 people, 32 images)", "1",
        "- + 3", "1 h 30 min", "cpu, 2 threads",
    ]  # fmt: skip


def test_an_evaluation_has_a_row_with_its_scores_and_the_initialisation() -> None:
    assert row_of(page(RESULTS), "Scores", "small") == [
        "small", "random", "people", "2 / 9", "standard", "50.00", "100.00", "100.00", "62.50",
        "31.25",
    ]  # fmt: skip


def test_another_protocol_is_said_in_words() -> None:
    report = replace(RECORD.report, reranking=RerankingRecipe(), is_same_camera_removed=False)
    other = replace(RECORD, report=report)
    cells = row_of(
        page(replace(RESULTS, runs=(replace(RUN, evaluations=(other,)),))), "Scores", "small"
    )
    assert cells[4] == "re-ranked (k1=20, k2=6, lambda=0.3), same camera kept (not comparable)"
    approximate = replace(
        RECORD,
        report=replace(RECORD.report, is_exact=False, index_recall=0.95),
        settings={"index": {"kind": "annoy"}},
    )
    run = replace(RUN, evaluations=(approximate,))
    cells = row_of(page(replace(RESULTS, runs=(run,))), "Scores", "small")
    assert cells[4] == "approximate search, recall 95.0%"


def test_every_yardstick_names_its_initialisation() -> None:
    text = page(RESULTS)
    assert row_of(text, "Published baselines", "OSNet, 350 epochs")[1:4] == [
        "random",
        "81.0",
        "93.6",
    ]
    assert row_of(text, "Published baselines", "CLIP-ReID, RN50")[1:4] == [
        "OpenAI CLIP",
        "89.8",
        "95.7",
    ]
    assert row_of(text, "Published baselines", "BoT, ResNet-50")[1] == "ImageNet"


def test_changed_settings_missing_and_outdated_evaluations_are_noted() -> None:
    run = replace(RUN, departures=("finetuning.epochs = 3",), outdated=("evaluation-reranked",))
    text = page(replace(RESULTS, runs=(run, replace(RUN, name="bare", evaluations=()))))
    assert row_of(text, "Runs", "small")[1] == "tiny *"
    assert "\\* small: `finetuning.epochs = 3`" in text
    assert "small: evaluation-reranked left out" in text
    assert "bare: not evaluated" in text


def test_differences_that_chance_explains_are_listed_and_the_others_counted() -> None:
    found = (difference("mAP", p_value=0.3), difference("Rank-1", p_value=0.001))
    pair = RunPair(first="a", second="b", evaluation="people", differences=found)
    text = page(replace(RESULTS, pairs=(pair,)))
    assert row_of(text, "Which differences count", "a") == [
        "a", "b", "people", "mAP", "+1.00", "-1.00 .. +3.00", "0.30",
    ]  # fmt: skip
    assert "All other differences between these pairs are significant" in text
    clear = replace(pair, differences=(difference("mAP", p_value=0.01),))
    assert "Every pair differs significantly" in page(replace(RESULTS, pairs=(clear,)))


def ablation_row(name: str, key: str, *, mean: float, p_value: float) -> AblationRow:
    return AblationRow(
        run=name,
        changes=(SettingChange(key=key, before="0.0", after="0.5"),),
        differences=tuple(
            ScoreDifference(
                measure=measure, first=0.5, second=mean, low=-0.01, high=0.03, p_value=p_value
            )
            for measure in ("mAP", "Rank-1")
        ),
    )


def effects(*ablation: AblationRow) -> str:
    found = Ablation(baseline="small", evaluation="people", runs=ablation)
    return page(replace(RESULTS, ablation=found))


def test_an_ablation_row_has_a_row_with_its_settings_and_both_differences() -> None:
    text = effects(
        ablation_row("erased", "finetuning.erasing_probability", mean=0.4, p_value=0.001)
    )
    assert row_of(text, "Ablation", "small")[1:4] == ["nothing", "50.00", "-"]
    told = ["40.00", "-10.00", "-1.00 .. +3.00", "yes"]
    assert row_of(text, "Ablation", "erased") == [
        "erased", "`finetuning.erasing_probability`: 0.0 -> 0.5", *told, *told,
    ]  # fmt: skip
    assert "**Noise between seeds: unknown.**" in text
    assert "### erased" not in text


def test_differences_within_the_spread_of_seeds_or_chance_do_not_count() -> None:
    text = effects(
        ablation_row("again", "seed", mean=0.53, p_value=0.001),
        ablation_row("little", "finetuning.random_crop_padding", mean=0.48, p_value=0.001),
        ablation_row("chance", "finetuning.random_crop_padding", mean=0.45, p_value=0.2),
        ablation_row("much", "finetuning.random_crop_padding", mean=0.45, p_value=0.001),
    )
    assert "with 2 seeds, the baseline comes to mAP 50.00 to 53.00 (3.00 apart)" in text
    assert "Differences within the spread of seeds say nothing" in text
    assert "2 seeds are few" in text
    rows = {name: row_of(text, "Ablation", name)[5]
            for name in ("again", "little", "chance", "much")}  # fmt: skip
    assert rows == {
        "again": "within the seeds", "little": "within the seeds", "chance": "no", "much": "yes",
    }  # fmt: skip


def test_a_page_with_a_baseline_says_the_command_that_makes_it_again() -> None:
    found = Ablation(
        baseline="small",
        evaluation="people",
        runs=(ablation_row("again", "seed", mean=0.5, p_value=1.0),),
    )
    command = "reid report docs/results/* --baseline docs/results/small --page docs/results.md"
    assert f"Written by `{command}` from" in page(replace(RESULTS, ablation=found))
    assert "Written by `reid report` from" in page(RESULTS)


def test_what_could_not_be_compared_is_said() -> None:
    text = page(replace(RESULTS, uncompared=("old (evaluation)",)))
    assert "do not say how each query fared: old (evaluation)." in text
    assert "Which differences count" not in page(RESULTS)


def test_names_do_not_break_the_tables() -> None:
    text = page(replace(RESULTS, runs=(replace(RUN, name="a|b"),)))
    assert "| a\\|b | tiny |" in text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (12.4, "12 s"), (90.0, "2 min"), (3540.0, "59 min"), (7260.0, "2 h 01 min")],
)
def test_durations_read_easily(seconds: float | None, words: str) -> None:
    run = replace(RUN, training_seconds=seconds)
    assert row_of(page(replace(RESULTS, runs=(run,))), "Runs", "small")[7] == words


def test_page_and_figures_lie_beside_each_other_and_come_out_alike(tmp_path: Path) -> None:
    first, second = (MarkdownPage(tmp_path / name / "scores.md") for name in ("one", "two"))
    written = first.write(RESULTS)
    assert written == (
        str(tmp_path / "one" / "scores.md"),
        str(tmp_path / "one" / "scores" / "small" / "curves.svg"),
    )
    second.write(RESULTS)
    for path in map(Path, written):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()
        assert str(tmp_path) not in path.read_text()
    assert "](<scores/small/curves.svg>)" in Path(written[0]).read_text()


def test_a_page_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be made"):
        MarkdownPage(tmp_path / "file" / "results.md").write(RESULTS)


def test_a_curve_runs_from_the_first_epoch_to_the_last_and_falls_as_the_loss() -> None:
    svg = ET.fromstring(draw_curves((CURVES,)))
    (line,) = svg.iter(f"{SVG}polyline")
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    across, down = zip(*points, strict=True)
    assert across[1] - across[0] == pytest.approx(across[2] - across[1])
    # Down the page is up in number: a falling loss has a growing y.
    assert list(down) == sorted(down)
    share = (down[1] - down[0]) / (down[2] - down[0])
    assert share == pytest.approx((9.0 - 4.0) / (9.0 - 2.5), abs=0.01)
    words = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"Stage 2: encoder", "epoch", "loss", "total"} <= set(words)


def test_stages_stand_beside_each_other_and_terms_have_colours_of_their_own() -> None:
    prompts = StageCurves(
        stage="prompts", epochs=(1, 2), losses={"i2t": (2.0, 1.0), "t<i": (3.0, 2.0)}
    )
    svg = ET.fromstring(draw_curves((prompts, CURVES)))
    panels = [panel.attrib["transform"] for panel in svg.findall(f"{SVG}g")]
    assert panels == ["translate(0 0)", "translate(460 0)"]
    colours = [line.attrib["stroke"] for line in svg.iter(f"{SVG}polyline")]
    assert colours == [COLOURS[0], COLOURS[1], COLOURS[0]]
    assert "t<i" in [text.text for text in svg.iter(f"{SVG}text")]


def test_a_single_epoch_is_a_dot() -> None:
    svg = ET.fromstring(
        draw_curves((StageCurves(stage="other", epochs=(1,), losses={"total": (0.0,)}),))
    )
    assert len(list(svg.iter(f"{SVG}circle"))) == 1
    assert not re.search("nan|inf", ET.tostring(svg, encoding="unicode"))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 9.0, (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)),
        (0.0, 0.5, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)),
        (-3.0, 20.0, (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)),
    ],
)
def test_ticks_are_round_and_hold_all_values(
    low: float, high: float, expected: tuple[float, ...]
) -> None:
    assert ticks(low, high) == pytest.approx(expected)
