"""Read the next batch while the last one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Key = TypeVar("_Key")
_Batch = TypeVar("_Batch")


def prefetch(read: Callable[[_Key], _Batch], keys: Iterable[_Key]) -> Iterator[_Batch]:
    """Yield `read(key)` for every key in order, while a thread reads the next one.

    The thread is at most one key ahead, so memory stays bounded, and ends when the iterator is
    exhausted, closed or dropped. An error of `read` is raised here, in its turn.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading-ahead") as reader:
        asked: Future[_Batch] | None = None
        for key in keys:
            upcoming = reader.submit(read, key)
            if asked is not None:
                yield asked.result()
            asked = upcoming
        if asked is not None:
            yield asked.result()
