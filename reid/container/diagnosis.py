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
from reid.application.diagnose import Check, Diagnosis, Facts, diagnose
from reid.container.encoders import create_encoder
from reid.container.galleries import cache_folder
from reid.container.gallery_engines import GalleryRequest, open_folder
from reid.container.indexes import create_index
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize
from reid.extras import (
    EXTRAS,
    PACKAGES,
    UNRECORDED_EXTRAS,
    describe_extra,
    installed_version,
    versions_of,
)
from reid.importing import Lazily

if TYPE_CHECKING:
    from reid.domain.values.features import EmbeddingSet
    from reid.domain.values.reports import EvaluationReport
    from reid.ports.image_encoder import TrainableEncoder
    from reid.ports.vector_index import VectorIndex
    from reid.settings.schema import Settings

_TINY = ("rn-tiny", "vit-tiny")
REINSTALL = "install again in a new environment: pip install clip-reid; if it stays, report it"


def run_diagnosis(settings: "Settings", *, told: Mapping[str, str], shows_paths: bool) -> Diagnosis:
    """Gather the facts and run the checks; without importable libraries, report only that.

    Args:
        settings: Folders, device and index.
        told: Settings to show.
        shows_paths: Whether to show paths and the names of user and machine.
    """
    facts: Facts = {
        "versions": lambda: dict(versions_of(PACKAGES)),
        "machine": machine_facts,
        "extras": lambda: [describe_extra(extra) for extra in (*EXTRAS, *UNRECORDED_EXTRAS)],
    }
    try:
        Lazily("reid.application.self_tests:try_encoder").load()
    except (ImportError, OSError) as error:
        checks = [Check(name="libraries", run=partial(_fail, error), advice=REINSTALL)]
    else:
        checks = [*_folder_checks(settings), *_part_checks(settings)]
        facts = {
            **facts,
            "torch": Lazily("reid.adapters.devices:torch_facts"),
            "OpenAI's weights": Lazily(
                "reid.adapters.encoders.openai_weights:describe_cached_weights"
            ),
        }
    facts = {**facts, "settings": lambda: dict(told)}
    if shows_paths:
        facts = {**facts, "folders": lambda: {name: str(f()) for name, f in _folders(settings)}}
    return diagnose(
        facts=facts,
        checks=checks,
        clock=time.perf_counter,
        conceal=str if shows_paths else concealment(places=private_places(), names=private_names()),
    )


def _fail(error: Exception) -> str:
    raise error


def _folders(settings: "Settings") -> tuple[tuple[str, Callable[[], Path]], ...]:
    return (
        ("run", settings.run.directory.absolute),
        ("cache", cache_folder(settings.gallery).absolute),
        ("temporary", temporary_folder),
    )


_FOLDER_ADVICE = {
    "run": "name a writable folder by `run.directory = DIR`, or make room on its disk",
    "cache": "name another by `gallery.cache = DIR`, or do without (`gallery.use_cache = false`)",
    "temporary": "set the variable TMPDIR to a writable folder, or make room",
}


def _folder_checks(settings: "Settings") -> list[Check]:
    return [
        Check(
            name=f"{name} folder",
            run=lambda folder=folder: try_writing(folder()),  # type: ignore[misc]
            advice=_FOLDER_ADVICE[name],
        )
        for name, folder in _folders(settings)
    ]


def _part_checks(settings: "Settings") -> list[Check]:
    from reid.adapters.devices import resolve_device
    from reid.application.self_tests import try_device, try_encoder, try_evaluator, try_index

    def check(name: str, run: Callable[[], str], advice: str = REINSTALL) -> Check:
        return Check(name=name, run=run, advice=advice)

    kinds = ["exact", "annoy", *(["hnsw"] if installed_version("faiss-cpu") else [])]
    return [
        *(
            check(f"encoder {kind}", partial(try_encoder, partial(_tiny_encoder, kind, "cpu")))
            for kind in _TINY
        ),
        check(
            f"device {settings.device}",
            lambda: try_device(
                partial(_tiny_encoder, _TINY[0]), device=resolve_device(settings.device)
            ),
            "use the processor (`device = cpu`), and check the driver and the build of torch",
        ),
        *(
            check(
                f"index {kind}",
                lambda kind=kind: try_index(_index(settings, kind)),  # type: ignore[misc]
                "search exactly meanwhile (`index.kind = exact`); " + REINSTALL,
            )
            for kind in dict.fromkeys([*kinds, settings.index.kind])
        ),
        check("evaluator", lambda: try_evaluator(_score)),
        check("gallery", _try_gallery_in_a_folder),
    ]


def _tiny_encoder(kind: str, device: str) -> "TrainableEncoder":
    return create_encoder(
        EncoderRequest(kind=kind, image_size=ImageSize(64, 32), seed=1, device=device)
    )


def _index(settings: "Settings", kind: str) -> "VectorIndex":
    # Options in the file are for the index in use.
    options = settings.index.options if kind == settings.index.kind else {}
    return create_index(settings.index.model_copy(update={"kind": kind, "options": options}))


def _score(queries: "EmbeddingSet", gallery: "EmbeddingSet") -> "EvaluationReport":
    from reid.adapters.indexes.exact import ExactIndex
    from reid.domain.services.scoring import score_queries

    return score_queries(queries, gallery, index=ExactIndex())[0]


def _try_gallery_in_a_folder() -> str:
    from reid.adapters.indexes.exact import ExactIndex
    from reid.application.self_tests import try_gallery

    with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder:
        request = partial(
            GalleryRequest,
            name=str(Path(folder) / "gallery"),
            tenant="",
            create_index=ExactIndex,
            options={},
        )
        return try_gallery(lambda create: open_folder(request(create=create)))
