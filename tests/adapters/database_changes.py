"""Galleries in databases, and changes to them by processes that are killed in the midst."""

import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from reid.adapters.galleries.milvus.gallery import open_milvus_gallery
from reid.adapters.galleries.postgres.gallery import open_postgres_gallery, open_postgres_records
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction
from tests.galleries import STAMP, enroll, entry, new_images, vectors_of


@dataclass(frozen=True, slots=True)
class Engine:
    """Where a gallery is; sent to other processes."""

    kind: str
    """`postgres`, `milvus`, or `milvus-postgres`."""

    name: str
    server: str
    file: str

    def open(self) -> Gallery:
        if self.kind == "postgres":
            return open_postgres_gallery(self.server, name=self.name, exact_up_to=0)
        records = None
        if self.kind == "milvus-postgres":
            records = self._open_records
        return open_milvus_gallery(self.file, name=self.name, index="FLAT", open_records=records)

    def _open_records(self) -> Any:
        return open_postgres_records(self.server, kind="milvus", name=self.name, create=True)


def fill_once(engine: Engine) -> None:
    """Make a gallery of 12 images and let it go: Milvus Lite serves one process at a time."""
    with closing(engine.open()) as gallery:
        enroll(gallery)


def add(gallery: Gallery) -> None:
    gallery.add(
        new_images(5, source="there"), vectors_of(5, seed=3), fingerprint=STAMP, entry=entry()
    )


def remove(gallery: Gallery) -> None:
    gallery.remove([1, 2, 3], entry=entry(AuditAction.REMOVE))


def erase(gallery: Gallery) -> None:
    gallery.erase([1, 2, 3], entry=entry(AuditAction.FORGET))


def interrupt(gallery: Gallery, point: str, by: Callable[[], None]) -> None:
    """Have the gallery interrupted at a point such as `vectors.add`, its work just done."""
    part, method = point.split(".")
    owner: Any = getattr(gallery, f"_{part}")
    real = getattr(owner, method)

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        by()
        return found

    setattr(owner, method, interrupted)


def change_and_die(engine: Engine, change: Callable[[Gallery], None], point: str) -> None:
    """Be killed at a point of a change."""
    gallery = engine.open()
    interrupt(gallery, point, lambda: os.kill(os.getpid(), signal.SIGKILL))
    change(gallery)
