"""Read the next batch while the last one is worked on."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Key = TypeVar("_Key")
_Batch = TypeVar("_Batch")


def prefetch(read: Callable[[_Key], _Batch], keys: Iterable[_Key]) -> Iterator[_Batch]:
    """Yield `read(key)` for every key in order; the next one is read meanwhile.

    One thread reads, one key after another and at most one ahead of what is asked for, so memory
    stays bounded and results are those of a plain loop. It is gone when the iterator is exhausted,
    closed or dropped.

    Args:
        read: Called in the other thread.
        keys: What to read.

    Yields:
        What `read` returned; what it raised is raised here, in its turn.
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
