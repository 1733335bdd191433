"""Indexes, from settings."""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dependency_injector import providers

from reid.container import registry
from reid.container.foundation import SETTINGS, Foundation
from reid.container.registry import BUILT_IN, Group

if TYPE_CHECKING:
    from reid.application.bench_indexes import BenchIndexes
    from reid.ports.vector_index import VectorIndex
    from reid.settings.schema import Settings


create_index = partial(registry.create, Group.INDEXES, section="index")
"""Creates the index of a kind from settings; raises as `registry.create`."""


def create_index_bench(settings: "Settings", kinds: Sequence[str] | None = None) -> "BenchIndexes":
    """Prepare a comparison of the built-in indexes, or of the named ones.

    Raises:
        ConfigurationError: No distribution offers one of the kinds.
    """
    from reid.adapters.indexes.exact import ExactIndex
    from reid.application.bench_indexes import BenchIndexes

    creators = {}
    for kind in kinds or BUILT_IN[Group.INDEXES]:
        registry.find(Group.INDEXES, kind)
        creators[kind] = partial(create_index, settings.index.model_copy(update={"kind": kind}))
    return BenchIndexes(
        kinds=creators,
        exact=ExactIndex,
        clock=time.perf_counter,
        size_of=size_in_file,
        seed=settings.seed,
    )


def size_in_file(index: "VectorIndex") -> int | None:
    """Return the bytes of an index in a file; None if it is not stored in one."""
    from reid.adapters.galleries.filesystem.index_files import can_be_kept

    if not can_be_kept(index):
        return None
    with tempfile.TemporaryDirectory(prefix="reid-bench-") as folder:
        path = Path(folder) / "index"
        index.save(str(path))
        return path.stat().st_size


class Indexes(Foundation):
    """Vector indexes."""

    index = providers.Singleton(create_index, SETTINGS.index)
    gallery_index = providers.Factory(create_index, SETTINGS.index)
    bench_indexes = providers.Factory(create_index_bench, Foundation.settings)
