"""Counted nouns."""

import pytest

from reid.domain.values.counts import counted


@pytest.mark.parametrize(("number", "written"), [(0, "0 images"), (1, "1 image"), (2, "2 images")])
def test_one_thing_is_not_written_as_several(number: int, written: str) -> None:
    assert counted(number, "image") == written


def test_a_plural_may_be_irregular() -> None:
    assert counted(1, "identity", "identities") == "1 identity"
    assert counted(3, "identity", "identities") == "3 identities"
