"""Checks and facts of `reid doctor`, made from the parts that the program itself uses.

Nothing here imports torch or another library in advance, since any of them may be broken.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from reid.adapters.surroundings import (
    concealment,
    machine_facts,
    private_names,
    private_places,
    temporary_folder,
    try_writing,
)
from reid.application.diagnose import Check, Diagnosis, diagnose
from reid.container.encoders import create_encoder
from reid.container.galleries import cache_folder
from reid.container.indexes import create_index
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize
from reid.extras import EXTRAS, PACKAGES, describe_extra, installed_version, versions_of
from reid.importing import Lazily, paused_collection

if TYPE_CHECKING:
    from reid.domain.values.json_values import JsonValue
    from reid.ports.image_encoder import TrainableEncoder
    from reid.settings.schema import IndexSettings, Settings

REINSTALL = "install again in a new environment: pip install clip-reid; if it stays, report it"


def run_diagnosis(settings: "Settings", *, told: Mapping[str, str], shows_paths: bool) -> Diagnosis:
    """Gather the facts and run the checks; without importable libraries, only those of folders.

    `told` are settings to show; `shows_paths` shows paths, and the names of user and machine.
    """
    folders = _folders(settings)
    facts: dict[str, Callable[[], JsonValue]] = {
        "versions": lambda: dict(versions_of(PACKAGES)),
        "machine": machine_facts,
        "extras": lambda: [describe_extra(extra) for extra in EXTRAS],
        "torch": Lazily("reid.adapters.devices:torch_facts"),
        "OpenAI's weights": Lazily("reid.adapters.encoders.openai_weights:describe_cached_weights"),
        "settings": lambda: dict(told),
    }
    if shows_paths:
        facts["folders"] = lambda: {name: str(place()) for name, (place, _) in folders.items()}
    checks = [
        Check(f"{name} folder", partial(_try_folder, place), advice)
        for name, (place, advice) in folders.items()
    ]
    try:
        checks.extend(_part_checks(settings))
    except (ImportError, OSError) as error:
        checks.append(Check("libraries", partial(_fail, error), REINSTALL))
    return diagnose(
        facts=facts,
        checks=checks,
        clock=time.perf_counter,
        conceal=str if shows_paths else concealment(places=private_places(), names=private_names()),
    )


def _folders(settings: "Settings") -> dict[str, tuple[Callable[[], Path], str]]:
    """List the folders that are written, and what to do where one cannot be."""
    return {
        "run": (
            settings.run.directory.absolute,
            "name a writable folder by `run.directory = DIR`, or make room on its disk",
        ),
        "cache": (
            cache_folder(settings.gallery).absolute,
            "name another by `gallery.cache = DIR`, or do without (`gallery.use_cache = false`)",
        ),
        "temporary": (
            temporary_folder,
            "set the variable TMPDIR to a writable folder, or make room",
        ),
    }


def _try_folder(place: Callable[[], Path]) -> str:
    return try_writing(place())


def _fail(error: Exception) -> str:
    raise error


def _part_checks(settings: "Settings") -> list[Check]:
    with paused_collection():
        from reid.adapters.devices import resolve_device
        from reid.application.self_tests import try_device, try_encoder, try_evaluator

    kinds = ["exact", "annoy", *(["hnsw"] if installed_version("faiss-cpu") else [])]
    return [
        *(
            Check(f"encoder {kind}", partial(try_encoder, partial(_tiny_encoder, kind)), REINSTALL)
            for kind in ("rn-tiny", "vit-tiny")
        ),
        Check(
            f"device {settings.device}",
            lambda: try_device(
                partial(_tiny_encoder, "rn-tiny"), device=resolve_device(settings.device)
            ),
            "use the processor (`device = cpu`), and check the driver and the build of torch",
        ),
        *(
            Check(
                f"index {kind}",
                partial(_try_index, settings.index, kind),
                f"search exactly meanwhile (`index.kind = exact`); {REINSTALL}",
            )
            for kind in dict.fromkeys([*kinds, settings.index.kind])
        ),
        Check("evaluator", try_evaluator, REINSTALL),
        Check("gallery", _try_gallery, REINSTALL),
    ]


def _tiny_encoder(kind: str, device: str = "cpu") -> "TrainableEncoder":
    return create_encoder(
        EncoderRequest(kind=kind, image_size=ImageSize(64, 32), seed=1, device=device)
    )


def _try_index(settings: "IndexSettings", kind: str) -> str:
    from reid.application.self_tests import try_index

    # Options in the file are for the index in use.
    options = settings.options if kind == settings.kind else {}
    return try_index(create_index(settings.model_copy(update={"kind": kind, "options": options})))


def _try_gallery() -> str:
    from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
    from reid.adapters.indexes.exact import ExactIndex
    from reid.application.self_tests import try_gallery

    with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder:
        return try_gallery(
            partial(open_filesystem_gallery, Path(folder) / "gallery", create_index=ExactIndex)
        )
