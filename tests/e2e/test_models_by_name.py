"""Encoders by name: the one that comes with the program, and any other of the catalogue.

A tiny encoder, trained on drawn people, stands in for the program's own.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from torch import Tensor

from reid import Reid
from reid.domain.errors import CheckpointError, EncoderError
from tests.e2e.program import as_json, run, train
from tests.e2e.test_demo import FEW_STEPS
from tests.models import entry_text, ship

pytestmark = pytest.mark.usefixtures("bare_environment")

STANDING = (
    "Home mAP 81.5, Rank-1 92.5 (measured); on other cameras expect far less: "
    "Away mAP 12.5, Rank-1 20.5 (measured)"
)
KNOWN = f"tiny-people answers, an encoder of the tests. Known of it: {STANDING}"


@pytest.fixture(autouse=True)
def shipped(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    content = (trained / "encoder.safetensors").read_bytes()
    folder = ship(
        tmp_path / "shipped",
        entry_text("tiny-people", file="tiny.safetensors", content=content, is_default=True),
        entry_text("elsewhere", file="elsewhere.safetensors"),
        patch=monkeypatch,
    )
    (folder / "tiny.safetensors").write_bytes(content)
    # There is no run in the folder of a new user.
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_identify_needs_neither_a_run_nor_weights(people: Path, trained: Path) -> None:
    question = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    answers = as_json(run(*question, "--json"))
    assert answers["model"] == {
        "name": "tiny-people", "about": "an encoder of the tests", "standing": STANDING,
    }  # fmt: skip
    assert answers["encoder"]["weights"].startswith("tiny.safetensors")
    same = as_json(run(*question, "--run", trained, "--json"))
    assert same["model"] is None
    names = [one["label"] for one in answers["identifications"]]
    assert names == [one["label"] for one in same["identifications"]]


def test_its_output_says_who_answered_and_how_good_that_is_known_to_be(
    people: Path, trained: Path, tmp_path: Path
) -> None:
    question = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    page = tmp_path / "page.html"
    told = run(*question, "--report", page)
    assert f"\nModel: {KNOWN}\n" in told.stdout
    assert "answers" not in told.stderr
    assert KNOWN in page.read_text()
    assert KNOWN in run(*question, "--weights", "tiny-people").stdout
    assert "Model:" not in run(*question, "--run", trained).stdout
    table = run(*question, "--csv")
    assert KNOWN in table.stderr
    assert "answers" not in table.stdout


def test_galleries_calibrations_and_scores_need_neither(people: Path) -> None:
    assert KNOWN in run("gallery", "build", "known", people / "bounding_box_test").stderr
    rate = ("--false-accept-rate", "0.25")
    assert KNOWN in run("calibrate", people / "query", "--gallery", "known", *rate).stderr
    assert KNOWN in run("evaluate", "--data", people).stderr
    assert KNOWN in run("identify", people / "query", "--gallery", "known").stdout


def test_the_library_needs_neither(people: Path) -> None:
    by_default, by_name = Reid(), Reid(weights="tiny-people")
    vectors = by_default.embed(people / "query")
    assert np.array_equal(vectors, by_name.embed(people / "query"))
    outcome = by_default.identify(people / "query", people / "bounding_box_test")
    assert outcome.encoder.is_trained
    assert outcome.model is not None
    assert outcome.model.words == KNOWN


def test_a_run_in_its_usual_place_comes_first(people: Path, trained: Path) -> None:
    shutil.copytree(trained, "runs/default")
    told = run("identify", people / "query", "--gallery", people / "bounding_box_test", "--json")
    assert as_json(told)["model"] is None
    assert as_json(told)["encoder"]["weights"].startswith("encoder.safetensors")


@pytest.mark.parametrize("asked", [("--run", "runs/none"), ("--encoder", "rn-tiny")])
def test_who_asks_for_another_encoder_does_not_get_this_one(
    people: Path, asked: tuple[str, str]
) -> None:
    question = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    told = run(*question, *asked, expect=5)
    assert "holds no trained encoder" in told.stderr
    assert "reid models list" in told.stderr


def test_without_its_file_it_is_said_what_to_do_and_random_weights_are_not_advised(
    people: Path, shipped: Path
) -> None:
    (shipped / "tiny.safetensors").unlink()
    question = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    told = run(*question, expect=5)
    assert "holds no trained encoder" in told.stderr
    assert "random" not in told.output


def test_without_its_file_the_library_says_what_to_do_too(shipped: Path) -> None:
    (shipped / "tiny.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds no trained encoder") as error:
        Reid()
    assert "weights='...'" in str(error.value) or "weights=..." in str(error.value)
    assert "random" not in str(error.value)


def test_a_training_starts_from_a_model_and_keeps_its_name(people: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    train(people, directory, "--weights", "tiny-people", "--encoder", "rn-tiny",
          "--set", "finetuning.image_to_text_weight=0")  # fmt: skip
    manifest = json.loads((directory / "run.json").read_text())
    assert manifest["fingerprint"]["encoder.weights"] == "tiny-people"
    run("evaluate", "--run", directory, "--data", people)


def test_a_run_comes_with_its_card(people: Path, trained: Path, tmp_path: Path) -> None:
    text = run("models", "card", trained).stdout
    # Written in the training, when the catalogue was the program's own.
    assert text.splitlines()[0] == (trained / "card.md").read_text().splitlines()[0]
    file = (trained / "encoder.safetensors").read_bytes()
    assert hashlib.sha256(file).hexdigest() in text
    towers = safetensors.torch.load(file)
    assert f"{count_of(towers):,}" in text
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    run("evaluate", "--run", copy, "--data", people, "--rerank")
    assert "re-ranked" in (copy / "card.md").read_text()
    run("models", "card", copy, "--output", tmp_path / "MODEL.md")
    assert (tmp_path / "MODEL.md").read_text() == (copy / "card.md").read_text()


def count_of(tensors: Mapping[str, Tensor]) -> int:
    """Count the parameters of the image tower."""
    return sum(
        tensor.numel()
        for name, tensor in tensors.items()
        if name.startswith("image_encoder.") and not name.endswith(("running_mean", "running_var"))
        and not name.endswith("num_batches_tracked")
    )  # fmt: skip


def test_names_that_are_not_here_are_answered_with_what_to_do(people: Path) -> None:
    question = ("identify", people / "query", "--gallery", people / "bounding_box_test")
    told = run(*question, "--weights", "elsewhere", expect=5)
    assert "reid models fetch elsewhere" in told.stderr
    told = run(*question, "--weights", "tiny-peple", expect=5)
    assert "did you mean tiny-people" in told.stderr
    with pytest.raises(EncoderError, match="reid models fetch elsewhere"):
        Reid(weights="elsewhere").embed(people / "query")


def test_the_demo_lets_it_answer_too(tmp_path: Path, shipped: Path) -> None:
    small = [part for setting in FEW_STEPS for part in ("--set", setting)]
    text = run("demo", tmp_path / "demo", *small).stdout
    trained, second = text.split("Second part: the encoder that comes with the program")
    assert KNOWN not in trained
    assert f"\nModel: {KNOWN}\n" in second
    assert "Rank-1" in second
    assert "Accuracy: " in second
    (shipped / "tiny.safetensors").unlink()
    outcome = as_json(run("demo", tmp_path / "demo", *small, "--json"))
    assert outcome["shipped"] is None
    assert outcome["identification"]["model"] is None
