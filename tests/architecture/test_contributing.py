"""CONTRIBUTING.md and the picture of the architecture are true."""

import json
import re
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from reid.application.identify import IdentificationOutcome
from reid.cli.answers import answers_as_json
from reid.container.registry import Group
from reid.domain.values.encoders import EncoderDescription
from reid.domain.values.reports import Identification
from tests.architecture.picture import PICTURE, draw

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:reid|tests)/[\w/.]+)`", TEXT))))
def test_every_path_of_the_text_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_its_targets_are_those_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"^    make (\w+)", TEXT, flags=re.MULTILINE)) == targets - {"demo"}


@pytest.mark.parametrize("name", ["LOSSES", "DATASETS", "INDEXES", "GALLERIES"])
def test_the_tables_and_contracts_of_the_text_exist(name: str) -> None:
    assert f"`Group.{name}`" in TEXT
    assert Group[name] in TEXT


@pytest.mark.parametrize(
    ("name", "module"),
    re.findall(r"`([A-Z]+)` (?:in|of)\s+`((?:reid|tests)/[\w/.]+\.py)`", TEXT),
)
def test_the_lists_of_the_text_are_where_it_says(name: str, module: str) -> None:
    assert re.search(rf"^{name}\b", (ROOT / module).read_text(), flags=re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedIdentification(Identification):
    note: str = ""


def test_a_field_of_the_answer_is_in_the_json_of_its_own_accord() -> None:
    answer = NotedIdentification(
        name="q.jpg", label="anna", similarity=0.9, runner_up_label=None,
        runner_up_similarity=None, images=(), note="seen at dusk",
    )  # fmt: skip
    outcome = IdentificationOutcome(
        encoder=EncoderDescription(name="fake", weights="random (seed 0)", is_pretrained=False),
        identifications=(answer,), unreadable_queries=(), unreadable_gallery=(), num_gallery=1,
        num_judged=0, num_correct=0, are_cameras_used=False, is_exact=True, index_recall=1.0,
        gallery="memory",
    )  # fmt: skip
    (shown,) = json.loads(answers_as_json(outcome))["identifications"]
    assert shown["note"] == "seen at dusk"
    assert set(shown) == {field.name for field in fields(NotedIdentification)}


def test_every_link_leads_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", TEXT)
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_picture_shows_the_rooms_that_there_are() -> None:
    assert PICTURE.read_text() == draw(), "draw it anew: python -m tests.architecture.picture"
