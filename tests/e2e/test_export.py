"""Export, evaluate and identify through the real commands."""

import re
from pathlib import Path

import pytest

from reid.application.export import MAX_DEVIATION
from tests.e2e.program import as_json, run, train
from tests.exports import require


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    require("openvino")
    folder = tmp_path_factory.mktemp("exports") / "openvino"
    run("export", folder, "--run", trained)
    return folder


def test_an_exported_run_scores_as_the_run_does(
    people: Path, trained: Path, exported: Path
) -> None:
    original = as_json(run("evaluate", "--run", trained, "--data", people, "--json"))
    again = as_json(run("evaluate", "--weights", exported, "--data", people, "--json"))
    for score in ("mean_average_precision", "mean_inverse_negative_penalty", "cmc"):
        assert again["report"][score] == pytest.approx(original["report"][score])
    assert again["encoder"]["weights"] == (
        original["encoder"]["weights"] + ", exported for openvino in fp32"
    )


def test_an_exported_encoder_identifies(people: Path, trained: Path, exported: Path) -> None:
    arguments = ("identify", people / "query", "--gallery", people / "bounding_box_test", "--json")
    answers = [
        [answer["label"] for answer in as_json(result)["identifications"]]
        for result in (run(*arguments, "--run", trained), run(*arguments, "--weights", exported))
    ]
    assert answers[0] == answers[1]


def test_the_export_says_how_far_it_is_from_the_original(trained: Path, tmp_path: Path) -> None:
    require("openvino")
    arguments = ("export", "--run", trained, "--precision", "bf16")
    text = run(*arguments, tmp_path / "text").stdout
    assert re.search(r"Numerical error in batches of 1: \S+ \(1 - cos, mean removed\)", text)
    assert f"reid evaluate --weights {tmp_path / 'text'}" in text
    outcome = as_json(run(*arguments, tmp_path / "json", "--json"))
    assert outcome["precision"] == "bf16"
    assert outcome["deviations"].keys() == {"1", "8"}
    assert all(0 <= found["angle"] <= 1e-2 for found in outcome["deviations"].values())


def test_an_export_beyond_the_users_limit_is_refused(trained: Path, tmp_path: Path) -> None:
    require("openvino")
    refused = run(
        "export", tmp_path / "out", "--run", trained, "--precision", "bf16",
        "--max-error", "0", expect=5,
    )  # fmt: skip
    assert "nothing was kept" in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_says_the_limits_that_hold() -> None:
    text = re.sub(r"\s+", " ", run("export", "--help").stdout)
    limits = ", ".join(
        f"{precision}: {f'{limit:.0e}'.replace('e-0', 'e-')}"
        for precision, limit in MAX_DEVIATION.items()
    )
    assert f"[{limits}]" in text


def test_an_exported_encoder_does_not_train(people: Path, exported: Path, tmp_path: Path) -> None:
    refused = train(people, tmp_path / "run", "--weights", exported, expect=5)
    assert "describes images only" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_an_export_of_an_export_is_refused(exported: Path, tmp_path: Path) -> None:
    refused = run("export", tmp_path / "out", "--weights", exported, expect=5)
    assert "is a folder" in refused.stderr
