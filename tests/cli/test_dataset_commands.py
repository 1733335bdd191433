"""`reid dataset check` and `reid dataset generate`."""

import json
from pathlib import Path

from typer.testing import CliRunner

from reid.cli.app import app
from tests.builders import build_market1501


def test_check_prints_the_field_s_table(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market", identities=4, test_identities=3, distractors=2)
    result = CliRunner().invoke(app, ["dataset", "check", str(root)])
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(
        "----------------------------------------\n"
        "subset   | # ids | # images | # cameras\n"
        "----------------------------------------\n"
        "train    |     4 |       16 |         2\n"
        "query    |     3 |        6 |         2\n"
        "gallery  |     4 |        8 |         2\n"
        "----------------------------------------\n"
    )


def test_check_answers_machines_in_json(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    result = CliRunner().invoke(app, ["dataset", "check", str(root), "--json"])
    report = json.loads(result.stdout)
    assert report["dataset"] == "market"
    assert [row["split"] for row in report["statistics"]] == ["train", "query", "gallery"]
    assert report["unreadable"] == []


def test_check_names_damaged_images_and_ends_with_4(tmp_path: Path) -> None:
    root = build_market1501(tmp_path / "market")
    damaged = min((root / "query").glob("*.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    result = CliRunner().invoke(app, ["dataset", "check", str(root)])
    assert result.exit_code == 4
    assert damaged.name in result.stdout
    assert result.stderr == "Error: 1 image cannot be read; replace or remove such files\n"


def test_check_of_a_missing_folder_ends_with_4(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dataset", "check", str(tmp_path / "nowhere")])
    assert result.exit_code == 4
    assert "nowhere does not exist" in result.stderr


def test_an_unknown_dataset_ends_with_3_and_lists_the_known_ones(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["dataset", "check", str(tmp_path), "--dataset", "duke"])
    assert result.exit_code == 3
    assert "'duke'; built in: csv, cuhk03, dukemtmc, market1501, msmt17, viper; " in result.stderr


def test_what_generate_draws_passes_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    counts = ["--identities", "2", "--test-identities", "2", "--cameras", "2"]
    counts += ["--images-per-camera", "1", "--distractors", "1"]
    result = CliRunner().invoke(app, ["dataset", "generate", str(folder), *counts])
    assert result.exit_code == 0, result.stderr
    assert result.stdout == (
        "Drew 4 training, 4 query and 5 gallery images of 2 + 2 people "
        f"in 2 cameras into {folder}\n"
    )
    assert CliRunner().invoke(app, ["dataset", "check", str(folder)]).exit_code == 0
    again = CliRunner().invoke(app, ["dataset", "generate", str(folder), *counts])
    assert again.exit_code == 4


def test_one_seed_draws_one_dataset(tmp_path: Path) -> None:
    counts = ["--identities", "1", "--test-identities", "1", "--cameras", "2", "--json"]

    def pixels(name: str, seed: str) -> list[bytes]:
        folder = tmp_path / name
        arguments = ["dataset", "generate", str(folder), "--seed", seed, *counts]
        result = CliRunner().invoke(app, arguments)
        assert json.loads(result.stdout)["cameras"] == 2
        return [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))]

    assert pixels("a", "1") == pixels("b", "1")
    assert pixels("c", "2") != pixels("d", "3")


def test_impossible_counts_end_with_3(tmp_path: Path) -> None:
    arguments = ["dataset", "generate", str(tmp_path / "drawn"), "--cameras", "1"]
    assert CliRunner().invoke(app, arguments).exit_code == 3


def test_generate_draws_junk_and_any_size(tmp_path: Path) -> None:
    folder = tmp_path / "drawn"
    counts = ["--identities", "2", "--test-identities", "2", "--cameras", "2"]
    arguments = ["dataset", "generate", str(folder), *counts, "--junk", "3", "--size", "96x40"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    assert len(list((folder / "bounding_box_test").glob("-1_*.jpg"))) == 3
    image = min((folder / "query").glob("*.jpg")).read_bytes()
    # The frame header of a JPEG holds its height and width.
    assert (96).to_bytes(2, "big") + (40).to_bytes(2, "big") in image


def test_generate_refuses_what_is_no_size(tmp_path: Path) -> None:
    for size in ("128", "128x", "0x64", "axb"):
        arguments = ["dataset", "generate", str(tmp_path / "drawn"), "--size", size]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2
        assert "--size" in result.stderr
        assert not (tmp_path / "drawn").exists()


def test_generate_refuses_sizes_that_would_take_for_ever(tmp_path: Path) -> None:
    arguments = ["dataset", "generate", str(tmp_path / "drawn"), "--size", "9999999x9"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 3
    assert "8..2048 pixels" in result.stderr
