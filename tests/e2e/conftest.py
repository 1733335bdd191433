"""Drawn datasets and one trained run for all end-to-end tests."""

from pathlib import Path

import pytest

from tests.e2e.program import run, train


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "people"
    run(
        "dataset", "generate", folder, "--identities", "8", "--test-identities", "4",
        "--cameras", "2", "--images-per-camera", "2", "--distractors", "3",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As few people as a training needs, for tests that train many times."""
    folder = tmp_path_factory.mktemp("drawn") / "few"
    run(
        "dataset", "generate", folder, "--identities", "3", "--test-identities", "2",
        "--cameras", "2", "--images-per-camera", "1", "--distractors", "0",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "trained"
    train(people, directory)
    return directory
