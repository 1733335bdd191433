"""Where training images come from changes how long training takes and nothing else."""

import pytest

from reid.adapters.images.contents import CachedReader
from reid.domain.events import ImageCacheFilled
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.lists import with_reader
from reid.domain.services.stage_loop import StageLoop
from reid.domain.values.checkpoints import Checkpoint
from tests.services.training import Laboratory, assert_same


@pytest.mark.parametrize("num_bytes", [0, 2500, 2**20], ids=["none", "some", "all"])
def test_training_from_memory_gives_the_same_bits(prompts: Checkpoint, num_bytes: int) -> None:
    expected = Laboratory().encoder_tuning().run(prompts)
    laboratory = Laboratory()
    cached = CachedReader(laboratory.dataset, num_bytes=num_bytes, listener=laboratory.listener)
    result = FineTuning(
        encoder=laboratory.encoder,
        dataset=with_reader(laboratory.dataset, cached),
        loop=StageLoop(runs=laboratory.runs, listener=laboratory.listener),
        recipe=laboratory.fine_tuning,
        seed=laboratory.seed,
    ).run(prompts)
    assert_same(result, expected)
    num_said = sum(isinstance(event, ImageCacheFilled) for event in laboratory.listener.events)
    assert num_said == (num_bytes < 2**20)
