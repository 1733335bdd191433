"""`reid settings`, and how options reach the settings."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from reid.cli.app import app
from reid.settings.catalogue import known_settings


def shown(*arguments: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["settings", "--json", *arguments])
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_every_setting_is_shown_with_its_origin() -> None:
    rows = shown()
    assert list(rows) == list(known_settings())
    assert rows["seed"] == {"value": 1234, "origin": "default"}
    assert rows["encoder.kind"] == {"value": "vit-b16", "origin": "recipe vit-b16"}


def test_the_table_lines_up() -> None:
    result = CliRunner().invoke(app, ["settings", "--seed", "7"])
    heading, *lines = result.stdout.splitlines()
    assert heading.split() == ["setting", "value", "set", "by"]
    assert len({line.index(" = ") for line in lines}) == 1
    (seed,) = [line.split() for line in lines if line.startswith("seed ")]
    assert seed == ["seed", "=", "7", "option"]


@pytest.mark.parametrize(
    ("option", "value", "key"),
    [
        ("--recipe", "rn50", "recipe"),
        ("--encoder", "rn50", "encoder.kind"),
        ("--weights", "somewhere/final.safetensors", "encoder.weights"),
        ("--dataset", "market1501", "dataset.kind"),
        ("--data", "images", "dataset.root"),
        ("--index", "annoy", "index.kind"),
        ("--seed", "7", "seed"),
        ("--device", "cuda:1", "device"),
        ("--run", "runs/mine", "run.directory"),
    ],
)
def test_an_option_sets_its_setting(option: str, value: str, key: str) -> None:
    row = shown(option, value)[key]
    assert str(row["value"]) == value
    assert row["origin"] == "option"


def test_file_environment_and_set_reach_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reid.toml"
    file.write_text('[index]\nkind = "annoy"\n[index.annoy]\ntrees = 10\nsearch_k = 5\n')
    monkeypatch.setenv("REID_INDEX__ANNOY__TREES", "20")
    rows = shown("--config", str(file), "--set", "index.annoy.search_k=6", "--set", "seed=3")
    assert rows["index.kind"] == {"value": "annoy", "origin": f"file {file}"}
    assert rows["index.annoy.trees"] == {
        "value": 20,
        "origin": "environment REID_INDEX__ANNOY__TREES",
    }
    assert rows["index.annoy.search_k"] == {"value": 6, "origin": "option"}
    assert rows["seed"] == {"value": 3, "origin": "option"}


def test_a_mistake_ends_with_3_and_the_nearest_setting() -> None:
    result = CliRunner().invoke(app, ["settings", "--set", "encoder.knid=rn50"])
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == (
        "Error: encoder.knid: there is no such setting; did you mean encoder.kind?\n"
    )


def test_a_missing_file_ends_with_3(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["settings", "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 3
    assert "does not exist" in result.stderr


def test_a_folder_in_place_of_a_settings_file_ends_with_3(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["settings", "--config", str(tmp_path)])
    assert result.exit_code == 3
    assert f"{tmp_path} is a folder; name a TOML file" in result.stderr
    assert "does not exist" not in result.stderr


@pytest.mark.parametrize(
    ("option", "known"),
    [
        (
            "--encoder",
            "encoder.kind: nothing is called 'rn51'; built in: open_clip, rn-tiny, rn50, timm, ",
        ),
        (
            "--dataset",
            "dataset.kind: nothing is called 'rn51'; built in: csv, cuhk03, dukemtmc, market1501, ",
        ),
        ("--index", "index.kind: nothing is called 'rn51'; built in: annoy, exact, hnsw"),
    ],
)
def test_an_unknown_adapter_ends_with_3_and_the_known_ones(option: str, known: str) -> None:
    result = CliRunner().invoke(app, ["settings", option, "rn51"])
    assert result.exit_code == 3
    assert result.stdout == ""
    assert known in result.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("identify", ".", "--gallery", "."),
        ("train", "--stage", "all", "--data", "."),
        ("gallery", "build", "nowhere", "."),
    ],
)
def test_an_unknown_index_is_said_before_any_work(command: tuple[str, ...]) -> None:
    random = ("--recipe", "tiny", "--weights", "random")
    result = CliRunner().invoke(app, [*command, *random, "--index", "rn51"])
    assert result.exit_code == 3
    assert "index.kind: nothing is called 'rn51'; built in: annoy, exact, hnsw" in result.stderr


def test_an_encoder_may_be_left_to_the_weights_file() -> None:
    assert shown("--weights", "some.safetensors")["encoder.kind"]["value"] is None


def test_an_unknown_kind_among_the_other_datasets_ends_with_3() -> None:
    result = CliRunner().invoke(app, ["settings", "--set", 'dataset.also=[{kind="rn51"}]'])
    assert result.exit_code == 3
    assert "dataset.kind: nothing is called 'rn51'; built in: csv, " in result.stderr
