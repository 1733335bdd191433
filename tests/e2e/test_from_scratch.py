"""The script that trains from random weights: its whole path, at a small size."""

import json
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.from_scratch import RECIPES, main


def commands_in(text: str) -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)]


def test_both_recipes_are_trained_evaluated_and_reported(
    people: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    call = ["--data", str(people), "--runs", str(runs), "--device", "cpu", "--quick"]
    assert main([*call, "--epochs", "2"]) == 0
    done = commands_in(capfd.readouterr().out)
    assert [command[:2] for command in done] == [
        *([["reid", "train"], ["reid", "evaluate"]] * 2),
        ["reid", "report"],
    ]
    for recipe, kind in zip(RECIPES, ("rn-tiny", "vit-tiny"), strict=True):
        fingerprint = json.loads((runs / recipe / "run.json").read_text())["fingerprint"]
        assert fingerprint["encoder.kind"] == kind
        assert fingerprint["encoder.weights"] == "random"
        assert fingerprint["finetuning.schedule"] == "cosine"
        assert (fingerprint["finetuning.epochs"], fingerprint["finetuning.warmup_epochs"]) == (2, 0)
        assert (runs / recipe / "evaluation-reranked.json").exists()
    page = (runs / "results.md").read_text()
    assert re.findall(r"^\| (scratch-\S+) \| scratch-\S+ \* \|", page, flags=re.MULTILINE) == [
        *RECIPES
    ]
    assert (runs / "results" / RECIPES[0] / "evaluation.queries.json.gz").exists()
    encoders = [(runs / recipe / "encoder.safetensors").read_bytes() for recipe in RECIPES]

    assert main([*call, "--epochs", "2"]) == 0
    again = commands_in(capfd.readouterr().out)
    assert [command[-1] for command in again if command[1] == "train"] == ["--resume"] * 2
    assert [(runs / recipe / "encoder.safetensors").read_bytes() for recipe in RECIPES] == encoders
    assert (runs / "results.md").read_text() == page


def test_the_first_command_that_fails_ends_the_script(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["--data", str(tmp_path / "absent"), "--runs", str(tmp_path / "runs"), "--quick"]
    assert main([*call, "--recipe", "scratch-rn50"]) == 4
    told = capfd.readouterr()
    assert len(commands_in(told.out)) == 1
    assert "stopped with exit status 4" in told.err


@pytest.mark.parametrize("arguments", [[], ["--data", "x", "--epochs", "0"],
                                       ["--data", "x", "--recipe", "tiny"]])  # fmt: skip
def test_what_it_does_not_take_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
