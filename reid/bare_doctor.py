"""What `reid doctor` can tell where torch or another library cannot be imported."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from reid.adapters.surroundings import machine_facts, private_names, private_places
from reid.application.concealment import Concealment
from reid.application.diagnose import Check, Diagnose
from reid.extras import EXTRAS, PACKAGES, UNRECORDED_EXTRAS, describe_extra, versions_of

if TYPE_CHECKING:
    from reid.domain.values.checkpoints import JsonValue

REINSTALL = "install again in a new environment: pip install clip-reid; if it stays, report it"


def bare_facts() -> dict[str, Callable[[], "JsonValue"]]:
    """List what can be told without any library of the program."""
    return {
        "versions": lambda: dict(versions_of(PACKAGES)),
        "machine": machine_facts,
        "extras": lambda: [describe_extra(extra) for extra in (*EXTRAS, *UNRECORDED_EXTRAS)],
    }


def concealment(*, shows_paths: bool) -> Callable[[str], str]:
    """Take paths and names of user and machine out of texts, unless they are to be shown."""
    if shows_paths:
        return str
    return Concealment(places=private_places(), names=private_names())


def diagnose_import(error: Exception, *, shows_paths: bool) -> Diagnose:
    """Put together what is left to tell after a library could not be imported.

    Args:
        error: What the import failed with.
        shows_paths: Whether paths and names of user and machine are told too.
    """

    def fail() -> str:
        raise error

    return Diagnose(
        facts=bare_facts(),
        checks=[Check(name="libraries", run=fail, advice=REINSTALL)],
        clock=time.perf_counter,
        conceal=concealment(shows_paths=shows_paths),
    )
