"""What several tests of services start from."""

import pytest

from reid.domain.values.checkpoints import Checkpoint
from tests.services.training import Laboratory


@pytest.fixture(scope="session")
def prompts() -> Checkpoint:
    """The checkpoint that stage 1 ends with, from which every test of stage 2 begins."""
    return Laboratory().prompt_learning().run()
