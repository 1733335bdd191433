"""Random weights are useful to begin a training with, and say nothing about people."""

from pathlib import Path

import pytest

from tests.e2e.program import as_json, run

WARNING = "Warning: rn-tiny has random weights that were never trained"


def commands(people: Path) -> dict[str, tuple[str | Path, ...]]:
    return {
        "identify": ("identify", people / "query", "--gallery", people / "bounding_box_test"),
        "evaluate": ("evaluate", "--data", people),
    }


@pytest.mark.parametrize("name", ["identify", "evaluate"])
def test_answers_of_random_weights_come_with_a_warning(people: Path, name: str) -> None:
    command = (*commands(people)[name], "--recipe", "tiny", "--weights", "random")
    shown = run(*command)
    first_answer, *_ = shown.stdout.splitlines()
    assert shown.output.index(WARNING) < shown.output.index(first_answer)
    told = run(*command, "--json")
    assert WARNING in told.stderr
    assert as_json(told)["encoder"]["is_trained"] is False


@pytest.mark.parametrize("name", ["identify", "evaluate"])
def test_a_trained_run_answers_without_it(people: Path, trained: Path, name: str) -> None:
    told = run(*commands(people)[name], "--run", trained, "--json")
    assert "Warning" not in told.stderr
    encoder = as_json(told)["encoder"]
    assert encoder["is_trained"] is True
    assert encoder["is_pretrained"] is False
