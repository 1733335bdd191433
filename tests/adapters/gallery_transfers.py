"""Exports and imports of galleries in folders, as other processes make them."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.galleries.archive import FileArchive
from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.application.gallery_transfer import TransferGallery
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import (
    AuditAction,
    AuditEntry,
    EncoderFingerprint,
    KeptImage,
    NewImage,
)
from reid.ports.gallery_archive import ArchivedGallery, ArchivePart

PART = 8192
WIDTH = 512
STAMP = EncoderFingerprint(name="rn-tiny", weights="random (seed 0)", digest="aa", width=WIDTH)
STATUS = Path("/proc/self/status")


def open_gallery(folder: Path) -> Gallery:
    return open_filesystem_gallery(folder, create=True, create_index=ExactIndex)


def transfer() -> TransferGallery:
    return TransferGallery(now=lambda: "2026-01-01T00:00:00Z")


def vectors_of(start: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(start)
    return F.normalize(torch.randn(count, WIDTH, generator=generator), dim=1)


def enroll(folder: Path, num_images: int) -> None:
    entry = AuditEntry(at="2026", action=AuditAction.ADD, subject="here", num_images=PART)
    with closing(open_gallery(folder)) as gallery:
        for start in range(0, num_images, PART):
            count = min(PART, num_images - start)
            images = [
                NewImage(name=f"{number}.jpg", source="here", content=f"{number:064x}", label="")
                for number in range(start, start + count)
            ]
            gallery.add(images, vectors_of(start, count), fingerprint=STAMP, entry=entry)


def export(folder: Path, file: Path) -> None:
    with closing(open_gallery(folder)) as gallery:
        transfer().export(gallery, FileArchive(file))


def import_into(folder: Path, file: Path) -> None:
    transfer().import_from(FileArchive(file), open_gallery=lambda: open_gallery(folder))


def measured(work: Callable[[Path, Path], None], folder: Path, file: Path, answer: Path) -> None:
    """Write down by how much the process's own memory grew at the most: bytes."""
    with _most_memory() as most:
        work(folder, file)
    answer.write_text(str(max(most) - most[0]))


@contextmanager
def _most_memory() -> Iterator[list[int]]:
    found = [_own_memory()]
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.005):
            found.append(_own_memory())

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield found
    finally:
        is_over.set()
        watcher.join()


def _own_memory() -> int:
    """Bytes without those of mapped files, which the system takes back when it likes."""
    found = re.search(r"RssAnon:\s+(\d+) kB", STATUS.read_text())
    assert found
    return 1024 * int(found[1])


def export_and_die(folder: Path, file: Path) -> None:
    """Be killed when half of the vectors have been written."""

    class Dying(FileArchive):
        def write(self, content: ArchivedGallery) -> None:
            super().write(replace(content, parts=lambda: halved(content.parts())))

    def halved(parts: Iterator[ArchivePart]) -> Iterator[ArchivePart]:
        yield next(parts)
        os.kill(os.getpid(), signal.SIGKILL)

    with closing(open_gallery(folder)) as gallery:
        transfer().export(gallery, Dying(file))


def import_and_die(folder: Path, file: Path) -> None:
    """Be killed in the midst of the third part, its vectors being written."""
    gallery = open_gallery(folder)
    vectors_kept = gallery._vectors
    add = vectors_kept.add
    count = 0

    def append(state: str, images: Sequence[KeptImage], vectors: Tensor) -> str:
        nonlocal count
        count += 1
        found = add(state, images, vectors)
        if count == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    vectors_kept.add = append  # type: ignore[method-assign]
    transfer().import_from(FileArchive(file), open_gallery=lambda: gallery)
