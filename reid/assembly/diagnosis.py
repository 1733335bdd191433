"""What `reid doctor` asks of an installation, made of the parts that the program itself uses."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from reid.adapters.devices import resolve_device, torch_facts
from reid.adapters.events.silent import Silent
from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.surroundings import temporary_folder, try_writing
from reid.application.diagnose import Check, Diagnose
from reid.application.self_tests import (
    try_device,
    try_encoder,
    try_evaluator,
    try_gallery,
    try_index,
)
from reid.assembly.encoders import create_encoder
from reid.assembly.galleries import cache_folder, open_folder
from reid.assembly.indexes import create_index
from reid.bare_doctor import REINSTALL, bare_facts, concealment
from reid.domain.services.embedding import Embedder
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import ImageSize
from reid.extras import installed_version
from reid.plugins import Factory
from reid.ports.image_encoder import TrainableEncoder
from reid.settings.schema import Settings

_TINY = ("rn-tiny", "vit-tiny")
_TINY_SIZE = ImageSize(64, 32)


def create_diagnosis(
    settings: Settings,
    indexes: Mapping[str, Factory],
    *,
    told: Mapping[str, str],
    shows_paths: bool,
) -> Diagnose:
    """Put together what is told and what is checked.

    Args:
        settings: Tell folders, device and index.
        indexes: Built-in factories by kind.
        told: What is told of the settings.
        shows_paths: Whether paths and names of user and machine are told too.
    """
    facts: dict[str, Callable[[], JsonValue]] = {
        **bare_facts(),
        "torch": torch_facts,
        "OpenAI's weights": _cached_weights,
        "settings": lambda: dict(told),
    }
    if shows_paths:
        facts["folders"] = partial(_folders, settings)
    return Diagnose(
        facts=facts,
        checks=[*_folder_checks(settings), *_part_checks(settings, indexes)],
        clock=time.perf_counter,
        conceal=concealment(shows_paths=shows_paths),
    )


def _cached_weights() -> JsonValue:
    from reid.adapters.encoders.cached_weights import describe_cached_weights

    return dict(describe_cached_weights())


def _folders(settings: Settings) -> JsonValue:
    return {
        "run": str(settings.run.directory.absolute()),
        "cache": str(cache_folder(settings.gallery)),
        "temporary": str(temporary_folder()),
    }


def _folder_checks(settings: Settings) -> list[Check]:
    return [
        Check(
            name="run folder",
            run=lambda: try_writing(settings.run.directory.absolute()),
            advice="name a folder that can be written by --run DIR, or make room on its disk",
        ),
        Check(
            name="cache folder",
            run=lambda: try_writing(cache_folder(settings.gallery).absolute()),
            advice="name another by --set gallery.cache=DIR, or do without by --no-cache",
        ),
        Check(
            name="temporary folder",
            run=lambda: try_writing(temporary_folder()),
            advice="name a folder that can be written in the variable TMPDIR, or make room",
        ),
    ]


def _part_checks(settings: Settings, indexes: Mapping[str, Factory]) -> list[Check]:
    device = settings.device
    encoders = [
        Check(
            name=f"encoder {kind}",
            run=partial(try_encoder, partial(_tiny_encoder, kind, "cpu")),
            advice=REINSTALL,
        )
        for kind in _TINY
    ]
    return [
        *encoders,
        Check(
            name=f"device {device}",
            run=lambda: try_device(partial(_tiny_encoder, _TINY[0]), device=resolve_device(device)),
            advice="use the processor by --device cpu, and look at driver and build of torch",
        ),
        *(_index_check(settings, indexes, kind) for kind in _index_kinds(settings)),
        Check(name="evaluator", run=lambda: try_evaluator(_score), advice=REINSTALL),
        Check(name="gallery", run=_try_gallery_in_a_folder, advice=REINSTALL),
    ]


def _tiny_encoder(kind: str, device: str) -> TrainableEncoder:
    return create_encoder(EncoderRequest(kind=kind, image_size=_TINY_SIZE, seed=1, device=device))


def _index_kinds(settings: Settings) -> list[str]:
    """Name the indexes that are installed, and the one in use."""
    kinds = ["exact", "annoy", *(["hnsw"] if installed_version("faiss-cpu") else [])]
    return list(dict.fromkeys([*kinds, settings.index.kind]))


def _index_check(settings: Settings, indexes: Mapping[str, Factory], kind: str) -> Check:
    # Options in the file are for the index in use.
    chosen = settings.index.model_copy(
        update={"kind": kind} if kind == settings.index.kind else {"kind": kind, "options": {}}
    )
    return Check(
        name=f"index {kind}",
        run=lambda: try_index(create_index(chosen, dict(indexes))),
        advice="search exactly meanwhile by --index exact; " + REINSTALL,
    )


def _score(queries: EmbeddingSet, gallery: EmbeddingSet) -> EvaluationReport:
    embedder = Embedder(encoder=_tiny_encoder(_TINY[0], "cpu"), listener=Silent())
    return Reidentification(embedder=embedder, index=ExactIndex()).score(queries, gallery)


def _try_gallery_in_a_folder() -> str:
    with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder:
        place = str(Path(folder) / "gallery")
        return try_gallery(partial(open_folder, place, create_index=ExactIndex))
