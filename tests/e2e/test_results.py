"""Compare, reproduce and report runs through the real commands."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.program import as_json, run, train


@pytest.fixture(scope="module")
def two_runs(people: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("two")
    for name, seed in (("one", "1"), ("two", "2")):
        train(people, folder / name, "--seed", seed)
    return folder / "one", folder / "two"


@pytest.fixture
def copy(two_runs: tuple[Path, Path], tmp_path: Path) -> Path:
    shutil.copytree(two_runs[0], tmp_path / "copy")
    return tmp_path / "copy"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("command", ["compare", "reproduce", "report"])
def test_a_folder_without_a_run_is_called_one(command: str, tmp_path: Path) -> None:
    folders = [tmp_path / "nowhere"] * (2 if command == "compare" else 1)
    assert f"{folders[0]} holds no run" in run(command, *folders, expect=5).output


def test_two_runs_are_compared_with_interval_and_p_value(two_runs: tuple[Path, Path]) -> None:
    text = run("compare", *two_runs).stdout
    lines = text.splitlines()
    assert lines[0] == f"A: {two_runs[0]} (evaluation)"
    assert lines[2] == "8 queries of people"
    assert [line.split()[0] for line in lines[4:9]] == [
        "mAP",
        "mINP",
        "Rank-1",
        "Rank-5",
        "Rank-10",
    ]
    outcome = as_json(run("compare", *two_runs, "--json"))
    recorded = [json.loads((one / "evaluation.json").read_text())["report"] for one in two_runs]
    first = outcome["differences"][0]
    assert first["first"] == pytest.approx(recorded[0]["mean_average_precision"])
    assert first["second"] == pytest.approx(recorded[1]["mean_average_precision"])
    assert run("compare", *two_runs).stdout == text


def test_a_run_is_compared_with_its_own_re_ranking(people: Path, copy: Path) -> None:
    run(
        "evaluate", "--run", copy, "--data", people, "--rerank",
        "--set", "reranking.k1=4", "--set", "reranking.k2=2",
    )  # fmt: skip
    outcome = as_json(run("compare", copy, copy / "evaluation-reranked.json", "--json"))
    assert outcome["second"]["evaluation"] == "evaluation-reranked"


def test_runs_on_other_queries_do_not_compare(people: Path, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(people, tmp_path / "fewer")
    gone = min((tmp_path / "fewer" / "query").iterdir())
    gone.unlink()
    result = run("evaluate", "--run", copy, "--data", tmp_path / "fewer")
    assert f"Recorded: {copy}/evaluation-on-fewer.json" in result.stdout
    refused = run("compare", copy, copy / "evaluation-on-fewer.json", expect=7)
    assert f"1 queries of the first only (query/{gone.name})" in refused.stderr


def test_evaluating_without_record_leaves_the_run_alone(people: Path, copy: Path) -> None:
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    result = run("evaluate", "--run", copy, "--data", people, "--rerank", "--no-record")
    assert "Recorded" not in result.stdout
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_an_evaluation_comes_out_again(two_runs: tuple[Path, Path]) -> None:
    result = run("reproduce", two_runs[0])
    assert "Queries with another average precision: 0 of 8" in result.stdout
    assert "Data, weights and settings: as recorded" in result.stdout
    assert "Versions and machine: as recorded" in result.stdout


def test_a_re_ranked_evaluation_comes_out_again_with_its_parameters(
    people: Path, copy: Path
) -> None:
    run(
        "evaluate", "--run", copy, "--data", people, "--rerank",
        "--set", "reranking.k1=4", "--set", "reranking.k2=2",
    )  # fmt: skip
    outcome = as_json(run("reproduce", copy / "evaluation-reranked.json", "--json"))
    assert outcome["evaluation"] == "evaluation-reranked"
    assert outcome["causes"] == []


def test_scores_that_differ_end_with_7_and_are_named(copy: Path) -> None:
    record = json.loads((copy / "evaluation.json").read_text())
    record["report"]["mean_average_precision"] += 0.005
    record["environment"]["versions"]["torch"] = "1.0"
    (copy / "evaluation.json").write_text(json.dumps(record))
    refused = run("reproduce", copy, expect=7)
    assert "what differs: mAP" in refused.stderr
    assert "--tolerance" not in refused.stderr
    assert "versions.torch: 1.0 then" in refused.stdout
    run("reproduce", copy, "--tolerance", "0.01")


def test_other_images_and_other_weights_are_named(
    people: Path, copy: Path, two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(people, tmp_path / "fewer")
    min((tmp_path / "fewer" / "query").iterdir()).unlink()
    refused = run("reproduce", copy, "--data", tmp_path / "fewer", expect=7)
    assert "data.query" in refused.stderr
    assert "data.gallery" not in refused.stderr
    shutil.copy(two_runs[1] / "encoder.safetensors", copy)
    assert "what differs: weights" in run("reproduce", copy, expect=7).stderr


def test_what_cannot_be_done_again_is_explained(copy: Path, people: Path, tmp_path: Path) -> None:
    shutil.copytree(people, tmp_path / "other")
    min((tmp_path / "other" / "query").iterdir()).unlink()
    run("evaluate", "--run", copy, "--data", tmp_path / "other")
    record = copy / "evaluation-on-other.json"
    assert "name its folder by --data" in run("reproduce", record, expect=3).stderr
    run("reproduce", record, "--data", tmp_path / "other")
    (copy / "encoder.safetensors").unlink()
    assert "records but no weights" in run("reproduce", copy, expect=5).stderr
    (copy / "evaluation.json").unlink()
    assert "holds no evaluation" in run("reproduce", copy, expect=5).stderr


def test_settings_that_nobody_knows_any_more_are_named(copy: Path) -> None:
    record = json.loads((copy / "evaluation.json").read_text())
    edit(copy / "evaluation.json", settings=record["settings"] | {"magic": 1})
    assert "does not take: magic" in run("reproduce", copy, expect=3).stderr


def test_the_page_comes_out_with_the_same_bytes(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    pages = [tmp_path / name / "results.md" for name in ("first", "second")]
    for page in pages:
        result = run("report", *two_runs, "--page", page)
        assert result.stdout.splitlines() == [
            f"Wrote {page}",
            *(f"Wrote {page.parent}/results/{name}/curves.svg" for name in ("one", "two")),
        ]
    trees = [
        {path.relative_to(page.parent): path.read_bytes() for path in page.parent.rglob("*.*")}
        for page in pages
    ]
    assert trees[0] == trees[1]
    text = pages[0].read_text()
    assert "| one | tiny * | rn-tiny, 64x32 | random | people (8 people, 32 images) | 1 |" in text
    assert "Runs evaluated on the same queries" in text
    assert str(two_runs[0].parent) not in text


def test_collected_records_alone_make_the_page_again(
    people: Path, copy: Path, two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    run("evaluate", "--run", copy, "--data", people, "--rerank", "--set", "reranking.k1=6")
    page = tmp_path / "docs" / "results.md"
    run("report", copy, two_runs[1], "--page", page, "--collect")
    text, folder = page.read_text(), tmp_path / "docs" / "results"
    assert "re-ranked (k1=6, k2=6, lambda=0.3)" in text
    assert not list(folder.rglob("*.safetensors"))
    assert not any(str(tmp_path) in path.read_text() for path in folder.rglob("*.json"))
    run("report", folder / "copy", folder / "two", "--page", page)
    assert page.read_text() == text
    outcome = as_json(run("compare", folder / "copy", folder / "two", "--json"))
    assert outcome["num_queries"] == 8


def test_runs_near_a_baseline_make_one_table_that_collected_records_make_again(
    people: Path, two_runs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "flat"
    train(people, changed, "--seed", "1", "--set", "finetuning.flip_probability=0")
    monkeypatch.chdir(tmp_path)
    outcome = as_json(
        run("report", changed, two_runs[1], "--baseline", two_runs[0], "--collect", "--json")
    )
    assert outcome["ablation"] == ["two", "flat"]
    page = Path("docs/results.md")
    text = page.read_text()
    assert "| flat | `finetuning.flip_probability`: 0.5 -> 0.0 |" in text
    assert "| two | `seed`: 1 -> 2 |" in text
    assert "Which differences count" not in text
    assert sorted(page.parent.rglob("*.svg")) == [Path("docs/results/one/curves.svg")]
    page.unlink()
    run(*command_of(text))
    assert page.read_text() == text
    run("compare", "docs/results/one", "docs/results/flat")


def test_a_baseline_without_near_runs_is_explained(
    two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    page = tmp_path / "results.md"
    refused = run("report", "--baseline", *two_runs[:1], two_runs[0], "--page", page, expect=3)
    assert "no other run was trained as one" in refused.stderr
    assert not page.exists()


def command_of(page: str) -> list[str]:
    """Read off a page how it is made again in the folder where it was, as a shell would."""
    (command,) = re.findall(r"^Written by `reid (report[^`]*)`", page, flags=re.MULTILINE)
    words = shlex.split(command if " " in command else f"{command} docs/results/*")
    found = [sorted(map(str, Path().glob(word))) if "*" in word else [word] for word in words]
    return [part for parts in found for part in parts]


def test_a_folder_without_a_run_has_no_place_on_the_page(tmp_path: Path) -> None:
    refused = run("report", tmp_path, "--page", tmp_path / "results.md", expect=5)
    assert "holds no run" in refused.stderr
    assert not (tmp_path / "results.md").exists()


def test_the_committed_page_is_what_its_records_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = Path(__file__).parents[2] / "docs"
    shutil.copytree(committed, tmp_path / "docs")
    monkeypatch.chdir(tmp_path)
    figures = list(Path("docs/results").rglob("*.svg"))
    assert figures
    command = command_of(Path("docs/results.md").read_text())
    for written in (Path("docs/results.md"), *figures):
        written.unlink()
    run(*command)
    for path in (file for file in committed.rglob("*") if file.is_file()):
        assert (tmp_path / "docs" / path.relative_to(committed)).read_bytes() == path.read_bytes()
