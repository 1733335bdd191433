"""Named tensors from safetensors files, pickles and TorchScript archives.

Files are data, never programs: pickles load with torch's weights-only reader, and of TorchScript
archives, as OpenAI published them, only the tensors are read.
"""

import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from reid.adapters.encoders.nesting import find_tensors
from reid.adapters.encoders.pickled_objects import find_objects, numpy_scalars
from reid.adapters.safetensors_file import read_safetensors
from reid.domain.errors import EncoderError
from reid.domain.values.json_values import JsonValue

Header: TypeAlias = Mapping[str, JsonValue]

_MOST_PICKLED_BYTES = 64 * 2**20
"""Limit of the table of modules; CLIP's takes a few hundred kilobytes."""

_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
}


class TensorFile(NamedTuple):
    """The tensors of a file."""

    tensors: dict[str, Tensor]
    header: Header | None = None  # of reid's own files
    entry: str = ""  # of the file that holds the tensors; empty where it is the table itself


def read_tensors(path: Path) -> TensorFile:
    """Read the named tensors of a file, in whichever entry they lie.

    Raises:
        EncoderError: The file is missing or damaged, or holds what could run code.
    """
    if not path.is_file():
        kind = "is a folder, not a weights file" if path.is_dir() else "is no regular file"
        what = kind if path.exists() else "does not exist"
        raise EncoderError(
            f"encoder.weights: {path} {what}; name a weights file or a finished run's encoder"
        )
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if path.suffix == ".safetensors" or start[8:] == b"{":
            return TensorFile(*read_safetensors(path))
        content = _read_torchscript(path) if _is_torchscript(path) else _read_pickle(path)
    except pickle.UnpicklingError as error:
        raise EncoderError(_refusal(path, str(error))) from error
    except Exception as error:  # damaged pickles and archives raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"{path} cannot be read as weights ({reason}): it is damaged, cut short, or of another "
            "kind; copy or download it again"
        ) from error
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path} holds a {type(content).__name__}: pass a file of named tensors")
    tensors, entry = find_tensors(content)
    return TensorFile(tensors, entry=entry)


def _refusal(path: Path, reason: str) -> str:
    found = find_objects(path, reason)
    if not found:
        return (
            f"{path} is no weights file, or holds Python objects that could run code when loaded: "
            "save the model's state_dict, or better a safetensors file, and pass that"
        )
    return (
        f"{path} holds Python objects that could run code when loaded: {', '.join(found)}; where "
        "you trust the file, load it (torch.load(..., weights_only=False)), delete these entries, "
        "and save the rest, or better its tensors as a safetensors file"
    )


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any("/code/" in name for name in names) and any(
        name.endswith("/constants.pkl") for name in names
    )


def _read_pickle(path: Path) -> Any:  # noqa: ANN401  (whatever a pickle can hold)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to the file's author
        with torch.serialization.safe_globals(numpy_scalars()):
            return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251


class _Module:
    """Stands for any class that a TorchScript archive's program defines."""

    def __setstate__(self, state: object) -> None:
        self.attributes = state


class _Unpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(BytesIO(_read_member(archive, f"{root}/data.pkl", _MOST_PICKLED_BYTES)))
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  (as its base class)
        """Return our own functions for tensors, lists and tables, and refuse everything else."""
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        known: dict[tuple[str, str], Callable[..., object]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("torch", "device"): lambda *parts: parts,
        }
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return lambda values: values
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}, which could run code")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:  # noqa: ANN401  (as its base class)
        """Read a storage once, though several tensors may share it."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it refers to something else than tensors")
        if key not in self._storages:
            member = f"{self._root}/data/{key}"
            content = _read_member(self._archive, member, count * dtype.itemsize)
            self._storages[key] = torch.frombuffer(bytearray(content), dtype=dtype)
        return self._storages[key]


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    """Read parameters and buffers under the names that the module's state dict gives them.

    `torch.jit.load` compiles the archive's program and calls its `__setstate__` methods, which can
    write files. Here the program is ignored: modules are read as tables of attributes.
    """
    with zipfile.ZipFile(path) as archive:
        (root,) = {
            name.removesuffix("/data.pkl")
            for name in archive.namelist()
            if name.endswith("/data.pkl") and name.count("/") == 1
        }
        module = _Unpickler(archive, root).load()
    tensors: dict[str, Tensor] = {}
    _collect(module, prefix="", into=tensors, above=())
    return tensors


def _collect(
    value: object, *, prefix: str, into: dict[str, Tensor], above: Sequence[object]
) -> None:
    if not isinstance(value, _Module) or any(value is outer for outer in above):
        return
    attributes = getattr(value, "attributes", None)
    if not isinstance(attributes, Mapping):
        return
    for name, entry in attributes.items():
        if isinstance(entry, Tensor):
            into[f"{prefix}{name}"] = entry
        _collect(entry, prefix=f"{prefix}{name}.", into=into, above=(*above, value))


def _rebuild(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> Tensor:
    """Copy a view of a storage; torch refuses one that leaves it."""
    return torch.as_strided(storage, tuple(size), tuple(stride), offset).clone()


def _read_member(archive: zipfile.ZipFile, name: str, most_bytes: int) -> bytes:
    with archive.open(name) as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"its part {name} is larger than {most_bytes} bytes")
    return content
