"""Python objects in pickled checkpoints: which are harmless, and where the others stand."""

import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

_CORES = ("core", "_core")  # names of one package, before and since numpy 2
_MOST_BYTES = 64 * 2**20  # of the part that is searched for objects
_FIRST_REFUSED = re.compile(r"GLOBAL (\S+) was not an allowed global")  # torch's words


Rebuilder: TypeAlias = Callable[..., Any] | tuple[Callable[..., Any], str]


def numpy_scalars() -> list[Rebuilder]:
    """List what torch may rebuild so that a checkpoint can hold numpy's numbers."""
    rebuild: Any = np.float64(0).__reduce__()
    kinds = {type(np.dtype(code)) for code in np.typecodes["AllInteger"] + "?efdFD"}
    names = [f"numpy.{core}.multiarray.scalar" for core in _CORES]
    return [*[(rebuild[0], name) for name in names], np.dtype, *kinds]


def find_objects(path: Path, reason: str) -> list[str]:
    """List the classes for whose sake torch refuses a file, each with its entry if that is plain.

    An entry is the name that stands last before the class in the pickle. Of a file from before
    torch 1.6, which is no archive, only the class is known that torch's reason names.
    """
    import torch

    try:
        with torch.serialization.safe_globals(numpy_scalars()):
            refused = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        refused -= {"numpy.dtype", *(f"numpy.{part}.multiarray.scalar" for part in _CORES)}
        found = {name: entry for name, entry in _objects(path) if name in refused}
    except Exception:  # noqa: BLE001 - a damaged file raises nearly anything; it is refused anyway
        return _FIRST_REFUSED.findall(reason)
    return [f"{name} (entry {entry!r})" if entry else name for name, entry in sorted(found.items())]


def _objects(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the classes that a pickle names, each with the last text before it."""
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(_pickle_in(path)):
        if operation.name == "GLOBAL":
            yield str(argument).replace(" ", "."), texts[-1] if texts else ""
        elif operation.name == "STACK_GLOBAL":
            yield ".".join(texts[-2:]), texts[-3] if len(texts) > 2 else ""
        elif isinstance(argument, str):
            texts.append(argument)


def _pickle_in(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(name) as file:
            return file.read(_MOST_BYTES)
