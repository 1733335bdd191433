"""Facts and checks of `reid doctor`, made from the parts that the program itself uses.

Nothing here imports torch or another library in advance, since any of them may be broken.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from reid.adapters.surroundings import (
    concealment,
    machine_facts,
    private_words,
    temporary_folder,
    try_writing,
)
from reid.container.encoders import create_encoder
from reid.container.galleries import cache_folder
from reid.container.indexes import create_index
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.json_values import JsonValue
from reid.domain.values.samples import ImageSize
from reid.extras import EXTRAS, PACKAGES, describe_extra, installed_version, versions_of
from reid.importing import Lazily, paused_collection

if TYPE_CHECKING:
    from reid.ports.image_encoder import TrainableEncoder
    from reid.settings.schema import Settings

REINSTALL = "install again in a new environment: pip install clip-reid; if it stays, report it"


Check: TypeAlias = tuple[str, Callable[[], str], str]
"""A name, a function that returns what it found or raises whatever it fails with, and advice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """Outcome of a check."""

    name: str
    is_passed: bool
    finding: str  # what was found, or what it failed with
    advice: str | None  # what to do; None where it passed
    seconds: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Facts about an installation by subject, and its checks."""

    facts: Mapping[str, JsonValue]
    checks: tuple[CheckOutcome, ...]


def run_diagnosis(settings: "Settings", *, told: Mapping[str, str], shows_paths: bool) -> Diagnosis:
    """Gather the facts and run the checks; without importable libraries, only those of folders.

    `told` are settings to show; `shows_paths` shows paths, and the names of user and machine.
    """
    folders = {
        "run": settings.run.directory.absolute,
        "cache": cache_folder(settings.gallery).absolute,
        "temporary": temporary_folder,
    }
    facts: dict[str, Callable[[], JsonValue]] = {
        "versions": lambda: dict(versions_of(PACKAGES)),
        "machine": machine_facts,
        "extras": lambda: [describe_extra(extra) for extra in EXTRAS],
        "torch": Lazily("reid.adapters.devices:torch_facts"),
        "precision": lambda: str(Lazily("reid.adapters.devices:measure_bf16")()),
        "OpenAI's weights": Lazily("reid.adapters.encoders.openai_weights:describe_cached_weights"),
        "settings": lambda: dict(told),
    }
    if shows_paths:
        facts["folders"] = lambda: {name: str(place()) for name, place in folders.items()}
    advice = (
        "name a writable folder by `run.directory = DIR`, or make room on its disk",
        "name another by `gallery.cache = DIR`, or do without (`gallery.use_cache = false`)",
        "set the variable TMPDIR to a writable folder, or make room",
    )
    checks: list[Check] = [
        (f"{name} folder", partial(try_writing, place), what_to_do)
        for (name, place), what_to_do in zip(folders.items(), advice, strict=True)
    ]
    try:
        checks.extend(_part_checks(settings))
    except (ImportError, OSError) as error:
        checks.append(("libraries", partial(_fail, error), REINSTALL))
    return diagnose(facts, checks, conceal=str if shows_paths else concealment(private_words()))


def diagnose(
    facts: Mapping[str, Callable[[], JsonValue]],
    checks: Sequence[Check],
    *,
    conceal: Callable[[str], str],
) -> Diagnosis:
    """Gather facts and run checks in order; failures are reported, and the rest goes on.

    `conceal` removes private parts of a text; it is applied to every text except names.
    """

    def known(value: JsonValue) -> JsonValue:
        match value:
            case str():
                return conceal(value)
            case dict():
                return {name: known(entry) for name, entry in value.items()}
            case list():
                return [known(entry) for entry in value]
            case _:
                return value

    def outcome(name: str, run: Callable[[], str], advice: str) -> CheckOutcome:
        before = time.perf_counter()
        finding, is_passed = _tried(run)
        return CheckOutcome(
            name=name,
            is_passed=is_passed,
            finding=conceal(str(finding)),
            advice=None if is_passed else conceal(advice),
            seconds=time.perf_counter() - before,
        )

    told = {subject: _tried(fact) for subject, fact in facts.items()}
    return Diagnosis(
        facts={
            subject: known(found if is_told else f"unknown: {found}")
            for subject, (found, is_told) in told.items()
        },
        checks=tuple(outcome(*check) for check in checks),
    )


def _tried(tell: Callable[[], JsonValue]) -> tuple[JsonValue, bool]:
    """Return what a function tells, or the text of its error, and whether it succeeded."""
    try:
        return tell(), True
    except Exception as error:  # noqa: BLE001  (a broken installation raises anything)
        return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": "), False


def _fail(error: Exception) -> str:
    raise error


def _part_checks(settings: "Settings") -> Iterator[Check]:
    with paused_collection():
        from reid.adapters.devices import resolve_device
        from reid.adapters.galleries.filesystem.gallery import open_filesystem_gallery
        from reid.adapters.indexes.exact import ExactIndex
        from reid.application import self_tests

    def encoder(kind: str, device: str = "cpu") -> "TrainableEncoder":
        size = ImageSize(64, 32)
        return create_encoder(EncoderRequest(kind=kind, image_size=size, seed=1, device=device))

    def try_device() -> str:
        device = resolve_device(settings.device)
        return self_tests.try_device(partial(encoder, "rn-tiny"), device=device)

    def try_index(kind: str) -> str:
        # Options in the file are for the index in use.
        options = settings.index.options if kind == settings.index.kind else {}
        chosen = settings.index.model_copy(update={"kind": kind, "options": options})
        return self_tests.try_index(create_index(chosen))

    def try_gallery() -> str:
        with tempfile.TemporaryDirectory(prefix="reid-doctor-") as folder:
            place = Path(folder) / "gallery"
            return self_tests.try_gallery(
                partial(open_filesystem_gallery, place, create_index=ExactIndex)
            )

    for kind in ("rn-tiny", "vit-tiny"):
        yield f"encoder {kind}", partial(self_tests.try_encoder, partial(encoder, kind)), REINSTALL
    on_cpu = "use the processor (`device = cpu`), and check the driver and the build of torch"
    yield f"device {settings.device}", try_device, on_cpu
    hnsw = ["hnsw"] if installed_version("faiss-cpu") else []
    for kind in dict.fromkeys(["exact", "annoy", *hnsw, settings.index.kind]):
        exactly = f"search exactly meanwhile (`index.kind = exact`); {REINSTALL}"
        yield f"index {kind}", partial(try_index, kind), exactly
    yield "evaluator", self_tests.try_evaluator, REINSTALL
    yield "gallery", try_gallery, REINSTALL
