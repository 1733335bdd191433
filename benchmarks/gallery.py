"""A gallery kept in a folder: open it and ask one query, ask more, add a few images.

`python -m benchmarks gallery` takes 16,000 images and the exact index; other sizes and indexes by

    python -m benchmarks.gallery --images 1000000 --index reid.adapters.indexes.hnsw:HnswIndex

which takes half an hour and 14 GB. `--keep FOLDER` leaves what was built for another measurement.
Files are in the system's cache when they are read, as those of a gallery in use are.

The plain side keeps vectors in one file that is read as a whole to be searched, and written as a
whole to be changed.

Letters: Q queries, G gallery, D width, K answers.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from itertools import count, cycle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.clusters import CAMERAS, embedded_sets, non_mated
from benchmarks.harness import Row, Scale, compare, print_rows, render_machine, run_alone
from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.domain.services.gallery import Gallery
from reid.domain.services.gallery_checks import as_array
from reid.domain.values.galleries import (
    EVERYTHING,
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    GalleryFilter,
    NewImage,
)
from reid.ports.vector_index import VectorIndex

EXACT = "reid.adapters.indexes.exact:ExactIndex"
ANSWERS = 10
SMALL_GALLERY = 20_000
SMALL_SECONDS = 5e-3
LARGE_SECONDS = 50e-3
SAME_DISTANCE = 1e-6
"""Two roundings of one distance may differ by so much: an equally near image is as good."""

_WHOLE = "built"
"""File that says that the gallery beside it is whole."""

ADDED_AT_ONCE = 10_000
IMAGES_PER_PERSON = 20
ENTRY = AuditEntry(at="2026-01-01T00:00:00Z", action=AuditAction.ADD, subject="", num_images=0)


@dataclass(frozen=True)
class Size:
    """How much work."""

    images: int
    width: int
    added: int
    queries: int
    runs: int
    slow_runs: int | None = None
    """Of the plain side, where one takes long."""


FULL = Size(images=16_000, width=1280, added=100, queries=100, runs=15)
QUICK = Size(images=1200, width=64, added=5, queries=20, runs=2)


def rows(scale: Scale) -> Iterator[Row]:
    """Measure the size of Market-1501 with the exact index."""
    return measured(scale.choose(QUICK, FULL, FULL), EXACT)


def measured(size: Size, index: str, *, keep: Path | None = None) -> Iterator[Row]:
    """Build a gallery and measure it.

    Args:
        size: How much work.
        index: `module:class` of the search index.
        keep: Folder of the gallery, built there unless it was before; None: a temporary one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(Path(scratch) if keep is None else keep, size, index)
        yield bench.opening_row()
        yield bench.query_row()
        yield bench.filtered_row()
        if keep is None:  # what is kept stays as it was built
            yield bench.adding_row()


class _Bench:
    """A gallery and the same vectors in a plain file."""

    def __init__(self, scratch: Path, size: Size, index: str) -> None:
        self._folder, self._plain_file = scratch / "gallery", scratch / "plain.f32"
        self._size, self._index = size, index
        self._fingerprint = EncoderFingerprint(
            name="made up", weights="", digest="", width=size.width
        )
        self._queries, known = self._people()
        began = time.perf_counter()
        if not (scratch / _WHOLE).exists():
            self._enroll(known)
            (scratch / _WHOLE).touch()
        self._build_seconds = time.perf_counter() - began
        self._limit = SMALL_SECONDS if size.images <= SMALL_GALLERY else LARGE_SECONDS

    def opening_row(self) -> Row:
        """Open, ask once, close."""
        query = self._queries[:1]

        def ours() -> Tensor:
            return opened_and_asked(self._folder, self._index, query)

        def plain() -> Tensor:
            return read_and_asked(self._plain_file, query)

        timing = compare(ours, plain, runs=self._size.runs, plain_runs=self._size.slow_runs)
        alone = run_alone(prepare_ours, self._folder, self._index, query)
        other = run_alone(prepare_plain, self._plain_file, query)
        return Row(
            part=self._part("open, one query, close"),
            ours="gallery in a folder",
            plain="file read as a whole, product, top-k",
            goal=f"< {1e3 * self._limit:g} ms",
            is_met=timing.ours_seconds < self._limit,
            exactness=self._exactness(),
            details={"build_seconds": self._build_seconds, "bytes": float(self._num_bytes())},
            **asdict(replace(timing, ours_peak_mib=alone.peak_mib, plain_peak_mib=other.peak_mib)),
        )

    def query_row(self) -> Row:
        """Ask a gallery that is open."""
        return self._open_row("one more query", EVERYTHING)

    def filtered_row(self) -> Row:
        """Leave a camera out, as re-identification across cameras does."""
        return self._open_row(
            "one query, all cameras but one", GalleryFilter(without_cameras=frozenset("1"))
        )

    def adding_row(self) -> Row:
        """Add a few images."""
        numbers = count()
        vectors = non_mated(self._size.added, width=self._size.width, part=-1)
        everything = _mapped(self._plain_file, self._size.width)
        copy = self._plain_file.with_suffix(".new")
        with closing(_opened(self._folder, self._index)) as gallery:

            def ours() -> None:
                images = _images(len(vectors), source=f"more {next(numbers)}")
                gallery.add(images, vectors, fingerprint=self._fingerprint, entry=ENTRY)

            def plain() -> None:
                with copy.open("wb") as file:
                    file.write(as_array(everything).data)
                    file.write(as_array(vectors).data)

            runs, slow = self._size.runs, self._size.slow_runs
            timing = compare(ours, plain, runs=runs, plain_runs=slow)
            num_faults = len(gallery.check())
        return Row(
            part=self._part(f"add {len(vectors)} images"),
            ours="appended, flushed to the disk, committed",
            plain="file written anew, not flushed",
            goal="faster than writing anew",
            is_met=timing.ratio > 1 and not num_faults,
            exactness=f"{num_faults} faults found by a check",
            **asdict(timing),
        )

    def _open_row(self, part: str, within: GalleryFilter) -> Row:
        rows = _mapped(self._plain_file, self._size.width)
        asked = cycle(torch.split(self._queries, 1))
        with closing(_opened(self._folder, self._index)) as gallery:
            timing = compare(
                lambda: gallery.search(next(asked), ANSWERS, within=within),
                lambda: (next(asked) @ rows.T).topk(ANSWERS),
                runs=self._size.runs,
                plain_runs=self._size.slow_runs,
            )
        return Row(
            part=self._part(part),
            ours="gallery in a folder",
            plain="product with the mapped file, top-k",
            goal=f"< {1e3 * self._limit:g} ms",
            is_met=timing.ours_seconds < self._limit,
            exactness=self._exactness(),
            **asdict(timing),
        )

    def _people(self) -> tuple[Tensor, Tensor]:
        """Make up (Q, D) queries, and images of the same persons for the gallery."""
        persons = min(self._size.images, SMALL_GALLERY)
        queries, known = embedded_sets(
            queries=self._size.queries,
            gallery=persons,
            identities=max(1, persons // IMAGES_PER_PERSON),
            width=self._size.width,
        )
        return queries.vectors, known.vectors

    def _enroll(self, known: Tensor) -> None:
        """Add images of persons, then of unknown people, and index them."""
        with closing(_opened(self._folder, self._index)) as gallery:
            self._add(gallery, known, part=0)
            left = range(len(known), self._size.images, ADDED_AT_ONCE)
            for part, start in enumerate(left, start=1):
                num_added = min(ADDED_AT_ONCE, self._size.images - start)
                added = non_mated(num_added, width=self._size.width, part=part)
                self._add(gallery, added, part=part)
            gallery.compact()

    def _add(self, gallery: Gallery, vectors: Tensor, *, part: int) -> None:
        images = _images(len(vectors), source=f"part {part}")
        gallery.add(images, vectors, fingerprint=self._fingerprint, entry=ENTRY)
        with self._plain_file.open("ab") as file:
            file.write(as_array(vectors).data)

    def _exactness(self) -> str:
        """Say how many of the nearest are found, an equally near one being as good."""
        rows = _mapped(self._plain_file, self._size.width)
        with closing(_opened(self._folder, self._index)) as gallery:
            found = torch.cat(
                [
                    gallery.search(query, ANSWERS).distances
                    for query in torch.split(self._queries, 1)
                ]
            )
        nearest = 1 - (self._queries @ rows.T).topk(ANSWERS).values  # (Q, K)
        recall = float((found <= nearest + SAME_DISTANCE).double().mean())
        return f"{recall:.3f} of {ANSWERS} nearest found"

    def _part(self, what: str) -> str:
        kind = self._index.rpartition(":")[2]
        return f"{what}, {self._size.images} images, {self._size.width}-d, {kind}"

    def _num_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._folder.iterdir())


def opened_and_asked(folder: Path, index: str, query: Tensor) -> Tensor:
    """Open a gallery and ask once: distances."""
    with closing(_opened(folder, index)) as gallery:
        return gallery.search(query, ANSWERS).distances


def read_and_asked(path: Path, query: Tensor) -> Tensor:
    """Read a file of vectors and ask once: distances."""
    rows = torch.from_numpy(np.fromfile(path, dtype=np.float32)).view(-1, query.shape[1])
    return 1 - (query @ rows.T).topk(ANSWERS).values


def prepare_ours(folder: Path, index: str, query: Tensor) -> Callable[[], object]:
    """Import what opening takes."""
    _index_class(index)
    return lambda: opened_and_asked(folder, index, query)


def prepare_plain(path: Path, query: Tensor) -> Callable[[], object]:
    """Prepare nothing."""
    return lambda: read_and_asked(path, query)


def _opened(folder: Path, index: str) -> Gallery:
    return open_filesystem_gallery(folder, create=True, create_index=_index_class(index))


def _index_class(name: str) -> Callable[[], VectorIndex]:
    module, _, attribute = name.partition(":")
    found: Callable[[], VectorIndex] = getattr(import_module(module), attribute)
    return found


def _mapped(path: Path, width: int) -> Tensor:
    size = path.stat().st_size // 4
    return torch.from_file(str(path), shared=False, size=size).view(-1, width)


def _images(num_images: int, *, source: str) -> list[NewImage]:
    return [
        NewImage(
            name=f"{number:07d}.jpg",
            source=source,
            content=f"{number:064x}",
            label=f"{source} {number // IMAGES_PER_PERSON}",
            camera=str(number % CAMERAS + 1),
        )
        for number in range(num_images)
    ]


def main() -> None:
    """Measure a size and an index of choice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gallery")
    parser.add_argument("--images", type=int, default=FULL.images)
    parser.add_argument("--width", type=int, default=FULL.width)
    parser.add_argument("--index", default=EXACT, metavar="MODULE:CLASS")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="build there, or measure anew")
    arguments = parser.parse_args()
    is_small = arguments.images <= SMALL_GALLERY
    size = replace(
        FULL,
        images=arguments.images,
        width=arguments.width,
        slow_runs=None if is_small else 1,
    )
    print(render_machine())
    print()
    print_rows(measured(size, arguments.index, keep=arguments.keep))


if __name__ == "__main__":
    main()
