import threading
from collections.abc import Iterator

import pytest

from reid.domain.services.embedding import prefetch


def num_readers() -> int:
    return sum(thread.name.startswith("reading-ahead") for thread in threading.enumerate())


def test_batches_come_in_the_order_of_the_keys() -> None:
    assert list(prefetch(lambda key: key * key, range(20))) == [n * n for n in range(20)]


def test_without_keys_there_are_no_batches() -> None:
    assert list(prefetch(lambda key: key, [])) == []


def test_the_next_batch_is_read_while_the_last_one_is_used() -> None:
    has_read_next = threading.Event()

    def read(key: int) -> int:
        if key == 1:
            has_read_next.set()
        return key

    batches = prefetch(read, range(3))
    assert next(batches) == 0
    assert has_read_next.wait(timeout=30), "nobody has asked for it yet"
    assert list(batches) == [1, 2]


def test_no_more_than_one_batch_is_read_ahead() -> None:
    read: list[int] = []
    batches = prefetch(read.append, range(100))
    for asked in range(1, 20):
        next(batches)
        assert len(read) <= asked + 1
    batches.close()  # type: ignore[attr-defined]  # a generator, though only an iterator is promised
    assert len(read) <= 20


def test_an_error_is_raised_in_its_turn_and_ends_the_thread() -> None:
    def read(key: int) -> int:
        if key == 2:
            raise LookupError("image 2 is damaged")
        return key

    batches = prefetch(read, range(10))
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(LookupError, match="image 2 is damaged"):
        next(batches)
    assert num_readers() == 0


def test_dropping_the_batches_ends_the_thread() -> None:
    def use(batches: Iterator[int]) -> None:
        assert next(batches) == 0
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use(prefetch(lambda key: key, range(10)))
    assert num_readers() == 0


def test_keys_may_be_listed_while_reading() -> None:
    assert list(prefetch(str, (n for n in range(3)))) == ["0", "1", "2"]
