"""Indexes by the names that settings use, built-in or plugged-in."""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from reid.adapters.galleries.filesystem.index_files import can_be_kept
from reid.adapters.indexes.exact import ExactIndex
from reid.application.bench_indexes import BenchIndexes
from reid.assembly.requirements import needed_for, refuse_options
from reid.plugins import BUILT_IN_KINDS, Factory, PluginGroup, check_kind, choose_factory
from reid.ports.vector_index import VectorIndex
from reid.settings.schema import HnswSettings, IndexSettings, Settings


def create_index(settings: IndexSettings, built_in: dict[str, Factory]) -> VectorIndex:
    """Make the index that is asked for, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers this kind.
    """
    factory = choose_factory(PluginGroup.INDEXES, settings.kind, built_in=built_in)
    if settings.kind not in built_in:
        plugged_in: VectorIndex = factory(settings.options)
        return plugged_in
    refuse_options("index.options", settings.kind, settings.options)
    built: VectorIndex = factory()
    return built


def create_hnsw(settings: HnswSettings) -> VectorIndex:
    """Make an HNSW index; imports faiss, which not everybody has, only now.

    Raises:
        ConfigurationError: It is not installed.
    """
    with needed_for("index.kind: hnsw", package="faiss-cpu", extra="hnsw"):
        from reid.adapters.indexes.hnsw import HnswIndex
    return HnswIndex(
        recall=settings.recall, connectivity=settings.connectivity, expansion=settings.expansion
    )


def create_index_bench(
    settings: Settings, built_in: dict[str, Factory], kinds: Sequence[str] | None = None
) -> BenchIndexes:
    """Compare the built-in indexes, or those named, built-in or plugged-in.

    Raises:
        ConfigurationError: Nobody offers a kind that is named.
    """
    wanted = tuple(kinds or BUILT_IN_KINDS[PluginGroup.INDEXES])
    for kind in wanted:
        check_kind(PluginGroup.INDEXES, kind)
    return BenchIndexes(
        kinds={
            kind: partial(create_index, settings.index.model_copy(update={"kind": kind}), built_in)
            for kind in wanted
        },
        exact=ExactIndex,
        clock=time.perf_counter,
        size_of=size_in_file,
        seed=settings.seed,
    )


def size_in_file(index: VectorIndex) -> int | None:
    """Count the bytes of an index in a file; None where it is kept in none."""
    if not can_be_kept(index):
        return None
    with tempfile.TemporaryDirectory(prefix="reid-bench-") as folder:
        path = Path(folder) / "index"
        index.save(str(path))
        return path.stat().st_size
