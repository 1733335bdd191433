import gc

import pytest

from reid.importing import paused_collection


def test_collection_is_paused_within_the_block_only() -> None:
    assert gc.isenabled()
    with paused_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collection_goes_on_after_an_import_that_fails() -> None:
    with pytest.raises(ImportError), paused_collection():
        raise ImportError("no torch here")
    assert gc.isenabled()


def test_whoever_collects_nothing_is_left_alone() -> None:
    gc.disable()
    try:
        with paused_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
