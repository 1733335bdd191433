"""What is around the program: machine, folders, and the names that show whose machine it is."""

import getpass
import os
import platform
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from reid.domain.errors import ConfigurationError
from reid.domain.values.json_values import JsonValue

_MIB = 2**20
_CPUINFO = Path("/proc/cpuinfo")
_BF16_FLAGS = {"avx512_bf16", "amx_bf16"}
_PATH = re.compile(r"(?<![\w/.:~>])/(?:[^\s/'\",;:()]+/)*[^\s/'\",;:()]+/?")
"""An absolute path: whatever stands behind a slash that follows no word."""


def processor_name(*, cpuinfo: Path = _CPUINFO) -> str:
    """Return the processor's name, or its architecture where the system does not name it.

    Args:
        cpuinfo: Linux's description of the processors.
    """
    name = _first_entry("model name", cpuinfo)
    return name or platform.processor() or platform.machine()


def lacks_bf16(*, cpuinfo: Path = _CPUINFO) -> bool:
    """Check whether this is an x86 processor without instructions that multiply in bfloat16.

    Args:
        cpuinfo: Linux's description of the processors; False where there is none.
    """
    flags = set(_first_entry("flags", cpuinfo).split())
    return bool(flags) and not flags & _BF16_FLAGS


def _first_entry(key: str, cpuinfo: Path) -> str:
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    entries = (line.partition(":") for line in lines)
    return next((words.strip() for name, _, words in entries if name.strip() == key), "")


def machine_facts(
    *, meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> dict[str, JsonValue]:
    """Describe system, processors and memory; no name of machine or user.

    Args:
        meminfo: Linux's figures of the memory; elsewhere only the whole is known.
        limit: What a container may take at most.
    """
    usable = getattr(os, "sched_getaffinity", None)
    facts: dict[str, JsonValue] = {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "processors for us": os.cpu_count() if usable is None else len(usable(0)),
        "memory MiB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB,
    }
    lines = meminfo.read_text().splitlines() if meminfo.is_file() else []
    entries = {name: words.split() for name, _, words in (line.partition(":") for line in lines)}
    for name, shown in (("MemTotal", "memory MiB"), ("MemAvailable", "free memory MiB")):
        if entries.get(name):
            facts[shown] = int(entries[name][0]) // 1024
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
    place = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    if not place.is_dir():
        raise ConfigurationError("a file stands where the folder should be")
    probe = b"reid doctor writes this and removes it"
    try:
        with tempfile.NamedTemporaryFile(prefix=".reid-doctor-", dir=place) as file:
            file.write(probe)
            file.flush()
            os.fsync(file.fileno())
            is_kept = Path(file.name).read_bytes() == probe
    except OSError as error:
        raise ConfigurationError(f"it cannot be written: {error.strerror}") from error
    if not is_kept:
        raise ConfigurationError("what was written does not come back")
    return "can be written" if place == folder else "can be made and written"


def temporary_folder() -> Path:
    """Return the folder for temporary files.

    Raises:
        ConfigurationError: There is none that can be written.
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


def concealment(*, places: Mapping[str, str], names: Mapping[str, str]) -> Callable[[str], str]:
    """Return what takes private places, other absolute paths and private names out of a text.

    Args:
        places: Absolute paths, with what is written instead.
        names: Words, with what is written instead; a word within a longer one is another word.
    """
    by_length = sorted(places.items(), key=lambda entry: len(entry[0]), reverse=True)
    patterns: list[tuple[str | re.Pattern[str], str]] = [
        # The whole root folder would be every path.
        *((rf"{re.escape(place)}(?![\w.-])", shown) for place, shown in by_length if place != "/"),
        (_PATH, "<path>"),
        *(
            (rf"(?<![\w-]){re.escape(name)}(?![\w-])", shown)
            for name, shown in names.items()
            if name
        ),
    ]

    def conceal(text: str) -> str:
        for pattern, shown in patterns:
            text = re.sub(pattern, shown, text)
        return text

    return conceal
