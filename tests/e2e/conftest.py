"""Drawn datasets and one trained run for all end-to-end tests."""

from pathlib import Path

import pytest

from tests.e2e.program import draw_people, train


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "people"
    return draw_people(folder, identities=8, test_identities=4, images=2, distractors=3)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As few people as a training needs, for tests that train many times."""
    folder = tmp_path_factory.mktemp("drawn") / "few"
    return draw_people(folder, identities=3, test_identities=2, images=1, distractors=0)


@pytest.fixture(scope="session")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "trained"
    train(people, directory)
    return directory
