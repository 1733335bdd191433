"""What all tests of the command line share."""

import pytest


@pytest.fixture(autouse=True)
def _bare_environment(bare_environment: None) -> None:
    """Give every test an environment without settings."""
