"""The program's surroundings: machine, folders, and private names."""

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
_PATH = r"(?<![\w/.:~>])/(?:[^\s/'\",;:()]+/)*[^\s/'\",;:()]+/?"
"""An absolute path: what follows a slash that is not part of a word."""


def processor_name(*, cpuinfo: Path = _CPUINFO) -> str:
    """Return the processor's name, or its architecture where the system does not name it."""
    return _entries(cpuinfo).get("model name") or platform.processor() or platform.machine()


def machine_facts(
    *, meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")
) -> dict[str, JsonValue]:
    """Describe system, processors, memory and a container's limit of it; names no user."""
    usable = getattr(os, "sched_getaffinity", None)
    facts: dict[str, JsonValue] = {
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "processors for us": os.cpu_count() if usable is None else len(usable(0)),
        "memory MiB": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // _MIB,
    }
    entries = _entries(meminfo)
    for name, shown in (("MemTotal", "memory MiB"), ("MemAvailable", "free memory MiB")):
        if name in entries:
            facts[shown] = int(entries[name].split()[0]) // 1024
    with suppress(OSError, ValueError):
        facts["memory limit MiB"] = int(limit.read_text()) // _MIB
    return facts


def _entries(path: Path) -> dict[str, str]:
    """Read a file of lines `name: text`, if it exists; the first line of a name counts."""
    lines = path.read_text().splitlines() if path.is_file() else []
    parts = (line.partition(":") for line in reversed(lines))
    return {name.strip(): text.strip() for name, _, text in parts}


def try_writing(tell: Callable[[], Path]) -> str:
    """Write, read and remove a file where a folder is or would be made, and word the finding."""
    folder = tell()
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
    """Return the folder for temporary files; an `OSError` says that none can be written."""
    return Path(tempfile.gettempdir())


def private_words() -> dict[str, str]:
    """Map the places of the user's files, and the names of user and machine, to replacements."""
    words = {platform.node(): "<host>", socket.gethostname(): "<host>", sys.prefix: "<environment>"}
    # Each can be missing: the folder can be deleted, a user can have no home and no name.
    for tell, shown in (
        (Path.cwd, "<working folder>"),
        (Path.home, "<home>"),
        (temporary_folder, "<temporary folder>"),
    ):
        with suppress(OSError, RuntimeError):
            place = tell()
            words |= {str(place): shown, str(place.resolve()): shown}
    with suppress(KeyError, OSError, ImportError):
        words[getpass.getuser()] = "<user>"
    return words


def concealment(words: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that replaces private places, other absolute paths, and private names."""
    # The root folder would match every path.
    longest_first = sorted(words.keys() - {"", "/"}, key=len, reverse=True)
    private = [
        rf"{re.escape(word)}(?![\w.-])"
        if Path(word).is_absolute()
        else rf"(?<![\w-]){re.escape(word)}(?![\w-])"
        for word in longest_first
    ]
    pattern = re.compile("|".join([*private, _PATH]))
    return lambda text: pattern.sub(lambda found: words.get(found.group(), "<path>"), text)
