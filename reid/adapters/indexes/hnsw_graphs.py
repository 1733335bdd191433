"""A graph of faiss as arrays in a file, searched where it lies.

faiss's own reader looks at every link before a search may begin, one by one: most of the time that
opening a large graph takes. Here they are looked at as an array, on all cores, and nothing that can
stay in the file is copied.

The file: eight int64, then the levels and links (int32) and the rounded vectors (float16), each
from a multiple of 64 bytes on.

Letters: G rows, L links, D width.
"""

import math
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from reid.adapters.indexes.mapped_files import map_file

LARGEST_CONNECTIVITY = 512
_NUM_HEADER_FIELDS = 8
_ALIGNMENT = 64
_CODE_BYTES = 2
"""Of a float16."""


@dataclass(frozen=True, slots=True)
class MappedGraph:
    """A graph whose links and vectors lie in a file."""

    graph: faiss.Index
    content: np.ndarray
    """Of the file: memory that the graph points into, and that has to outlive it."""


@dataclass(frozen=True, slots=True)
class _Header:
    connectivity: int
    """Links per row and layer (M of the paper)."""

    entry_point: int
    """Row at which a search begins."""

    max_level: int
    """Layers above the lowest."""

    num_links: int
    """L, places without a link included."""


def new_graph(width: int, *, connectivity: int) -> faiss.Index:
    """Make a graph without rows, over vectors rounded to float16."""
    return faiss.IndexHNSWSQ(
        width, faiss.ScalarQuantizer.QT_fp16, connectivity, faiss.METRIC_INNER_PRODUCT
    )


def write_graph(file: BinaryIO, graph: faiss.Index) -> None:
    """Write a graph that `new_graph` made, from the beginning of a file.

    Raises:
        OSError: It cannot be written.
    """
    hnsw, storage = graph.hnsw, faiss.downcast_index(graph.storage)
    links, codes = hnsw.neighbors, storage.codes
    # On the layers above the lowest a row has M links.
    header = _Header(hnsw.nb_neighbors(1), hnsw.entry_point, hnsw.max_level, links.size())
    fields = np.zeros(_NUM_HEADER_FIELDS, dtype="<i8")
    fields[: len(astuple(header))] = astuple(header)
    parts = (
        fields,
        faiss.vector_to_array(hnsw.levels),
        faiss.rev_swig_ptr(links.data(), links.size()),
        faiss.rev_swig_ptr(codes.data(), codes.size()),
    )
    starts = _starts(header, num_rows=graph.ntotal, width=graph.d)
    for start, part in zip(starts, parts, strict=False):
        file.write(bytes(start - file.tell()))
        file.write(np.ascontiguousarray(part).data)


def map_graph(path: Path, *, num_rows: int, width: int, num_bytes: int) -> MappedGraph:
    """Map a graph that `write_graph` wrote.

    Args:
        path: The file, at least `num_bytes` long.
        num_rows: G, at least 1.
        width: D.
        num_bytes: Of the graph in the file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no such graph, or one that would be searched beyond its ends.
    """
    content = map_file(path, num_bytes)
    if num_bytes < _NUM_HEADER_FIELDS * 8:
        raise ValueError("its beginning is missing")
    fields = content[: _NUM_HEADER_FIELDS * 8].view("<i8").tolist()
    header = _Header(*fields[: len(_Header.__slots__)])
    if not 2 <= header.connectivity <= LARGEST_CONNECTIVITY or header.num_links < 0:
        raise ValueError("its beginning is none of a graph")
    *starts, end = _starts(header, num_rows=num_rows, width=width)
    if end != num_bytes:
        raise ValueError(f"{num_bytes} bytes instead of {end}")
    _, levels, links, codes = (content[start:stop] for start, stop in pairwise([*starts, end]))
    graph = new_graph(width, connectivity=header.connectivity)
    _fill(
        graph,
        header,
        levels=levels[: 4 * num_rows].view("<i4"),
        links=links[: 4 * header.num_links].view("<i4"),
        codes=codes,
    )
    return MappedGraph(graph, content)


def _fill(
    graph: faiss.Index, header: _Header, *, levels: np.ndarray, links: np.ndarray, codes: np.ndarray
) -> None:
    """Have an empty graph look at (G,) levels, (L,) links and (bytes,) codes."""
    hnsw, storage = graph.hnsw, faiss.downcast_index(graph.storage)
    num_rows = len(levels)
    links_up_to = faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
    if not 1 <= levels.min() <= levels.max() < len(links_up_to):
        raise ValueError("a row has a layer that there is not")
    is_entry = 0 <= header.entry_point < num_rows
    if not is_entry or not levels[header.entry_point] == levels.max() == header.max_level + 1:
        raise ValueError("a search would begin nowhere")
    hnsw.offsets.resize(num_rows + 1)
    offsets = faiss.rev_swig_ptr(hnsw.offsets.data(), num_rows + 1).view(np.int64)  # (G + 1,)
    np.cumsum(links_up_to.astype(np.int64)[levels], out=offsets[1:])
    if offsets[-1] != header.num_links:
        raise ValueError(f"{header.num_links} links instead of {offsets[-1]}")
    lowest, highest = torch.aminmax(torch.from_numpy(links))
    if lowest < -1 or highest >= num_rows:
        raise ValueError("a link leads to a row that there is not")
    _require_layers(levels, offsets=offsets, links=links, links_up_to=links_up_to)
    faiss.copy_array_to_vector(levels, hnsw.levels)
    hnsw.entry_point, hnsw.max_level = header.entry_point, header.max_level
    hnsw.neighbors = _view(faiss.MaybeOwnedVectorInt32, links)
    storage.codes = _view(faiss.MaybeOwnedVectorUInt8, codes)
    graph.ntotal = storage.ntotal = num_rows


def _require_layers(
    levels: np.ndarray, *, offsets: np.ndarray, links: np.ndarray, links_up_to: np.ndarray
) -> None:
    """Refuse links of a layer to rows that do not have it: theirs would be read beyond their end.

    Args:
        levels: (G,) layers of each row, the lowest included.
        offsets: (G + 1,) where the links of each row begin.
        links: (L,).
        links_up_to: Links of a row below each layer.

    Raises:
        ValueError: There is such a link.
    """
    for layer in range(1, levels.max()):
        is_there = np.append(levels > layer, True)  # (G + 1,); no link is -1, the last of them
        rows = np.flatnonzero(is_there[:-1])
        num_links = links_up_to[layer + 1] - links_up_to[layer]
        own = sliding_window_view(links, num_links)[offsets[rows] + links_up_to[layer]]
        if not is_there[own].all():
            raise ValueError("a link leads to a row that has not its layer")


def _view(kind: Any, array: np.ndarray) -> Any:  # noqa: ANN401  (faiss has no types)
    """Show faiss an array as a vector, whose memory stays ours."""
    nobody = kind()  # alive until the view is made: its owner, which is none, is a part of it
    return kind.create_view(faiss.swig_ptr(array), len(array), nobody.owner)


def _starts(header: _Header, *, num_rows: int, width: int) -> Iterator[int]:
    """Say where header, levels, links and codes begin, and where the last of them ends."""
    place = 0
    sizes = (_NUM_HEADER_FIELDS * 8, 4 * num_rows, 4 * header.num_links)
    for size in sizes:
        yield place
        place = math.ceil((place + size) / _ALIGNMENT) * _ALIGNMENT
    yield place
    yield place + num_rows * width * _CODE_BYTES
