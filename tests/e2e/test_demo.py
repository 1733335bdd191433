"""`reid demo`, its training cut short."""

import json
import re
from pathlib import Path

import pytest

from tests.e2e.program import SMALL, run
from tests.models import ship

FEW_STEPS = (*SMALL, "finetuning.identities_per_batch=16", "finetuning.images_per_identity=4")
"""There are more people here than elsewhere: small batches of them make hundreds of steps."""


def demo(folder: Path, *arguments: str) -> str:
    small = [part for setting in FEW_STEPS for part in ("--set", setting)]
    return run("demo", folder, *small, *arguments).stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "here"


def test_the_demo_compares_identifies_and_says_where_everything_lies(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(tmp_path / "shipped", patch=monkeypatch)
    text = demo(folder)
    assert text.endswith("Second part left out: no encoder comes with this program\n")
    assert text.splitlines()[0].split() == ["untrained", "trained"]
    assert re.search(r"^mAP +\d+\.\d\d% +\d+\.\d\d%$", text, flags=re.MULTILINE)
    assert re.search(r"^Accuracy: .* of \d queries", text, flags=re.MULTILINE)
    again = next(line for line in text.splitlines() if line.startswith("Again:"))
    run(*again.split()[2:])
    record = json.loads((folder / "run" / "demo.json").read_text())
    assert record.keys() == {"untrained", "trained", "identification"}
    assert record["untrained"]["report"] != record["trained"]["report"]
    said = [line for line in text.splitlines() if line.startswith("Encoder:")]
    assert len(said) == 2
    assert all("weights: trained from random" in line for line in said)
    assert record["identification"]["encoder"] == record["trained"]["encoder"]


def test_a_second_demo_replaces_the_first(folder: Path) -> None:
    demo(folder, "--seed", "2", "--json")
    manifest = json.loads((folder / "run" / "run.json").read_text())
    assert manifest["fingerprint"]["seed"] == 2


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("mine")
    result = run("demo", tmp_path, expect=4)
    assert str(tmp_path / "data") in result.stderr
    assert (tmp_path / "data" / "thesis.txt").read_text() == "mine"
