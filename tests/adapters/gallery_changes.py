"""A gallery in a folder, and changes to it, as other processes make them too."""

import json
import os
import random
import resource
import zlib
from collections.abc import Callable
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, NewImage
from tests.galleries import STAMP, entry

MOST_IMAGES = 60
NOBODY = 65534
"""A user without rights, to whom root can turn."""


def open_gallery(folder: Path, *, create: bool = True) -> Gallery:
    return open_filesystem_gallery(
        folder, create=create, create_index=ExactIndex, index_from_rows=1
    )


def vector_of(name: str) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return F.normalize(torch.randn(1, STAMP.width, generator=generator), dim=1)


def image_of(name: str) -> NewImage:
    return NewImage(
        name=name, source="here", content=f"digest-{name}", label=name[0], thumbnail=name.encode()
    )


def add(gallery: Gallery, names: list[str]) -> tuple[int, ...]:
    vectors = torch.cat([vector_of(name) for name in names])
    return gallery.add(
        [image_of(name) for name in names], vectors, fingerprint=STAMP, entry=entry()
    )


def names_of(num_images: int, *, prefix: str = "") -> list[str]:
    return [f"{'abc'[number % 3]}-{prefix}{number}.jpg" for number in range(num_images)]


def nearest(gallery: Gallery, name: str) -> str:
    (key,) = gallery.search(vector_of(name), 1).indices[0].tolist()
    return gallery.images(keys=[key])[0].name


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def spawn(work: Callable[..., None], *arguments: object) -> BaseProcess:
    """Run a function of this module in a process that starts at once, torch being loaded."""
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def change_for_ever(folder: Path, log: Path, seed: int) -> None:
    """Change a gallery at random; say before each change what it leads to, and after it so, too."""
    torch.set_num_threads(1)
    chance = random.Random(seed)
    with closing(open_gallery(folder)) as gallery, log.open("a", buffering=1) as file:
        for number in range(10**6):
            keys = {image.name: image.key for image in gallery.images()}
            change, after = _choose(gallery, keys, chance, f"{seed}-{number}")
            print(json.dumps({"before": sorted(keys), "after": sorted(after)}), file=file)
            change()
            print(json.dumps({"before": sorted(after), "after": sorted(after)}), file=file)


def _choose(
    gallery: Gallery, keys: dict[str, int], chance: random.Random, name: str
) -> tuple[Callable[[], object], set[str]]:
    kind = chance.choice(["add", "add", "add", "erase", "remove", "compact", "search"])
    if kind == "add" and len(keys) < MOST_IMAGES:
        added = [f"{chance.choice('abc')}-{name}-{i}.jpg" for i in range(chance.randint(1, 9))]
        return lambda: add(gallery, added), {*keys, *added}
    gone = chance.sample(sorted(keys), k=min(len(keys), chance.randint(1, 9)))
    gone_keys, left = [keys[image] for image in gone], set(keys) - set(gone)
    if kind == "remove":
        return lambda: gallery.remove(gone_keys, entry=entry(AuditAction.REMOVE)), left
    if kind in ("add", "erase"):
        return lambda: gallery.erase(gone_keys, entry=entry(AuditAction.FORGET)), left
    if kind == "search" and keys:
        return lambda: gallery.search(vector_of(name), 3), set(keys)
    return gallery.compact, set(keys)


def change_by_pairs(folder: Path, num_changes: int) -> None:
    """Add and erase images two at a time."""
    torch.set_num_threads(1)
    with closing(open_gallery(folder)) as gallery:
        for number in range(num_changes):
            add(gallery, [f"a-{number}.jpg", f"b-{number}.jpg"])
            keys = [image.key for image in gallery.images()]
            if number % 3 == 2:
                gallery.erase(keys[2:4], entry=entry(AuditAction.FORGET))
            elif number % 3 == 1:
                gallery.remove(keys[4:6], entry=entry(AuditAction.REMOVE))


def read_pairs(folder: Path, done: Path) -> None:
    """Look until the file `done` is there; exit with 3 where half a pair is seen."""
    torch.set_num_threads(1)
    with closing(open_gallery(folder, create=False)) as gallery:
        while not done.exists():
            names = {image.name for image in gallery.images()}
            found = gallery.search(vector_of("query"), 10**6)
            halves = {f"{'ba'[name[0] == 'b']}{name[1:]}" for name in names}
            if halves != names or found.indices.shape[1] % 2 or (found.indices < 0).any():
                os._exit(3)


def read_without_rights(folder: Path, outcome: Path) -> None:
    """Search and try to change what may not be written; write down what came of it."""
    torch.set_num_threads(1)
    with outcome.open("w") as file:
        if os.geteuid() == 0:
            os.setuid(NOBODY)
        with closing(open_gallery(folder, create=False)) as gallery:
            found = gallery.search(vector_of("b-1.jpg"), 1)
            (name,) = [p.name for p in gallery.images(keys=found.indices[0].tolist())]
            faults = gallery.check()
            try:
                add(gallery, ["a-new.jpg"])
            except GalleryError as error:
                json.dump({"image": name, "faults": faults, "error": str(error)}, file)


def make_on_a_full_disk(folder: Path, outcome: Path, num_bytes: int) -> None:
    """Make a gallery where no file may grow beyond a size; write down what came of it."""
    with outcome.open("w") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
        try:
            open_gallery(folder)
        except GalleryError as error:
            json.dump({"error": str(error)}, file)


def add_on_a_full_disk(folder: Path, outcome: Path, num_bytes: int) -> None:
    """Add images where no file may grow beyond a size; write down what came of it."""
    torch.set_num_threads(1)
    with closing(open_gallery(folder)) as gallery, outcome.open("w") as file:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
        try:
            add(gallery, [f"z-{number}.jpg" for number in range(1000)])
        except GalleryError as error:
            json.dump({"error": str(error)}, file)
