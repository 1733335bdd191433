"""What is around the program: machine, folders, and the words that tell whose machine it is."""

import getpass
import os
import platform
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reid.domain.errors import ConfigurationError

if TYPE_CHECKING:
    # torch may be the very thing that is broken: this module works without it.
    from reid.domain.values.json_values import JsonValue

_PROBE = b"reid doctor writes this and removes it"
_MIB = 2**20


def machine_facts() -> dict[str, "JsonValue"]:
    """Tell system, processors and memory; no name of machine or user."""
    return {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "processors for us": _num_usable_processors(),
        **memory_facts(),
    }


def _num_usable_processors() -> int | None:
    count = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count()


def memory_facts(
    *, meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> dict[str, "JsonValue"]:
    """Tell memory in MiB: in all, free for use, and what a container may take at most.

    Args:
        meminfo: Where Linux tells it; elsewhere only the whole is told.
        limit: Where a container's limit stands.
    """
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    entries = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
    facts: dict[str, JsonValue] = {}
    for name, shown in (("MemTotal", "memory MiB"), ("MemAvailable", "free memory MiB")):
        if entries.get(name):
            facts[shown] = int(entries[name][0]) // 1024
    if not facts:
        facts["memory MiB"] = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB
    with suppress(OSError, ValueError):
        facts["memory limit MiB"] = int(limit.read_text()) // _MIB
    return facts


def try_writing(folder: Path) -> str:
    """Write a file where a folder is or would be made, read it again, and remove it.

    Returns:
        What was found, without naming the folder.

    Raises:
        ConfigurationError: It cannot be written.
    """
    place = _nearest_existing(folder)
    if not place.is_dir():
        raise ConfigurationError("a file stands where the folder should be")
    try:
        descriptor, name = tempfile.mkstemp(prefix=".reid-doctor-", dir=place)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(_PROBE)
                stream.flush()
                os.fsync(stream.fileno())
            is_kept = Path(name).read_bytes() == _PROBE
        finally:
            Path(name).unlink()
    except OSError as error:
        raise ConfigurationError(f"it cannot be written: {error.strerror}") from error
    if not is_kept:
        raise ConfigurationError("what was written does not come back")
    return "can be written" if place == folder else "can be made and written"


def _nearest_existing(folder: Path) -> Path:
    place = folder
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    return place


def temporary_folder() -> Path:
    """Name the folder for temporary files; itself none where no such folder can be written.

    Raises:
        ConfigurationError: There is none.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise ConfigurationError(f"there is no folder for temporary files: {error}") from error


def private_places() -> dict[str, str]:
    """List where the user's files and this program lie, each with what to write instead."""
    places = {sys.prefix: "<environment>"}
    # Each can be missing: a folder that was deleted, a user without a home.
    for tell, shown in (
        (Path.cwd, "<working folder>"),
        (Path.home, "<home>"),
        (temporary_folder, "<temporary folder>"),
    ):
        with suppress(OSError, RuntimeError, ConfigurationError):
            place = tell()
            places |= {str(place): shown, str(place.resolve()): shown}
    return places


def private_names() -> dict[str, str]:
    """List the names of user and machine, each with what to write instead."""
    names = dict.fromkeys((platform.node(), socket.gethostname()), "<host>")
    # No name where the user's number is in no table, as in some containers.
    with suppress(KeyError, OSError, ImportError):
        names[getpass.getuser()] = "<user>"
    return names
