"""Other datasets than the one that was trained on, and several trained on together."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.program import as_json, run, train
from tests.layouts import build_csv, build_cuhk03, build_dukemtmc, build_msmt17, build_viper

LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "msmt17": lambda folder: build_msmt17(folder / "MSMT17_V1"),
    "dukemtmc": lambda folder: build_dukemtmc(folder / "DukeMTMC-reID"),
    "cuhk03": lambda folder: build_cuhk03(folder / "CUHK03-NP"),
    "viper": lambda folder: build_viper(folder / "VIPeR"),
    "csv": lambda folder: build_csv(folder / "people.csv"),
}
TABLES = {
    "msmt17": ("4 |       16 |         2", "3 |        6 |         2", "3 |       12 |         2"),
    "dukemtmc": (
        "4 |       16 |         2",
        "4 |        8 |         2",
        "4 |       16 |         2",
    ),
    "cuhk03": ("4 |       16 |         2", "4 |        8 |         2", "4 |       16 |         2"),
    "viper": ("4 |        8 |         2", "4 |        4 |         1", "4 |        4 |         1"),
    "csv": ("4 |       16 |         2", "4 |        8 |         2", "5 |       18 |         2"),
}
NAMES = {
    "msmt17": "MSMT17_V1",
    "dukemtmc": "DukeMTMC-reID",
    "cuhk03": "CUHK03-NP (detected)",
    "viper": "VIPeR (split 0)",
    "csv": "people.csv",
}


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_check_tabulates_each_dataset(tmp_path: Path, kind: str) -> None:
    said = run("dataset", "check", LAYOUTS[kind](tmp_path), "--dataset", kind).stdout
    rows = [f"{name:<8} |     {counts}" for name, counts in zip(
        ("train", "query", "gallery"), TABLES[kind], strict=True
    )]  # fmt: skip
    assert said.splitlines()[3:6] == rows
    assert said.endswith("Every image can be read; nothing odd was found.\n")


@pytest.mark.parametrize("kind", list(LAYOUTS))
def test_a_run_is_evaluated_on_a_dataset_that_it_never_saw(
    trained: Path, tmp_path: Path, kind: str
) -> None:
    outcome = as_json(
        run("evaluate", "--run", trained, "--dataset", kind, "--data", LAYOUTS[kind](tmp_path),
            "--json")
    )  # fmt: skip
    assert outcome["dataset"] == NAMES[kind]
    report = outcome["report"]
    assert report["num_valid_queries"] == report["num_queries"] == int(TABLES[kind][1][4:13])
    assert 0 < report["mean_average_precision"] <= 1


def test_a_wrong_folder_for_a_dataset_ends_with_4_and_says_what_was_looked_for(
    trained: Path, people: Path
) -> None:
    said = run("evaluate", "--run", trained, "--dataset", "msmt17", "--data", people, expect=4)
    assert f"no MSMT17 in {people}: looked for list_train.txt" in said.stderr


def test_two_sets_are_trained_on_together_and_the_first_is_evaluated(
    people: Path, tmp_path: Path
) -> None:
    viper, run_folder = build_viper(tmp_path / "VIPeR"), tmp_path / "run"
    settings = tmp_path / "both.toml"
    settings.write_text(f'[[dataset.also]]\nkind = "viper"\nroot = {json.dumps(str(viper))}\n')
    said = train(people, run_folder, "--config", settings).stdout
    assert said.splitlines()[3:6] == [
        "train    |    12 |       40 |         4",
        "query    |     4 |        8 |         2",
        "gallery  |     5 |       19 |         2",
    ]
    assert f"Dataset: {people.name}\n" in said
    alone = as_json(run("evaluate", "--run", run_folder, "--data", people, "--json"))
    recorded = json.loads((run_folder / "evaluation.json").read_text())
    assert alone["report"] == recorded["report"]
    assert alone["encoder"]["num_identities"] == 12
    manifest = json.loads((run_folder / "run.json").read_text())
    assert manifest["environment"]["settings"]["dataset"]["also"] == [
        {"kind": "viper", "root": str(viper), "viper": {"split_seed": 0}}
    ]


def test_a_run_on_one_set_does_not_go_on_with_two(people: Path, tmp_path: Path) -> None:
    viper, run_folder = build_viper(tmp_path / "VIPeR"), tmp_path / "run"
    train(people, run_folder, "--stage", "prompts")
    also = f'dataset.also=[{{kind="viper", root={json.dumps(str(viper))}}}]'
    refused = train(
        people, run_folder, "--stage", "prompts", "--resume", "--set", also, expect=5
    )  # fmt: skip
    assert "dataset.digest" in refused.stderr
