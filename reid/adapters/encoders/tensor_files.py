"""Named tensors from safetensors files, pickles and TorchScript archives.

Files are data, never programs: pickles load with torch's weights-only reader, and of TorchScript
archives, as OpenAI published them, only the tensors are read.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from reid.adapters.encoders.torchscript_tensors import read_torchscript
from reid.adapters.safetensors_file import DIGEST_KEY, HEADER_KEY, read_unreplaced, verify_digest
from reid.domain.errors import EncoderError
from reid.domain.values.checkpoints import JsonValue
from reid.small_files import parse_json

Header: TypeAlias = Mapping[str, JsonValue]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Header | None]:
    """Read all tensors of a file, and the header that reid's own files have.

    Raises:
        EncoderError: The file is damaged, or holds what could run code.
    """
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".safetensors" or start[8:] == b"{":
        return read_unreplaced(path, _read_safetensors)
    if _is_torchscript(path):
        return _read_torchscript(path), None
    return _read_pickle(path), None


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], Header | None]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header = parse_json(metadata[HEADER_KEY]) if HEADER_KEY in metadata else None
            if header is not None:
                verify_digest(metadata, tensors)
            elif any(DIGEST_KEY in text for text in metadata.values()):
                raise ValueError("the name of its header is gone")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(path, error) from error
    return tensors, header


def _is_torchscript(path: Path) -> bool:
    try:
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # damaged names raise nearly anything
        raise _damaged(path, error) from error
    return any("/code/" in name for name in names) and any(
        name.endswith("/constants.pkl") for name in names
    )


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        return read_torchscript(path)
    except pickle.UnpicklingError as error:
        raise _unsafe(path) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise _damaged(path, error) from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # advice to the file's author
            content = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    except pickle.UnpicklingError as error:
        raise _unsafe(path) from error
    except Exception as error:  # a damaged pickle raises nearly anything
        raise _damaged(path, error) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path} holds a {type(content).__name__}: pass a file of named tensors")
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}


def _unsafe(path: Path) -> EncoderError:
    return EncoderError(
        f"{path} is no weights file, or holds Python objects that could run code when loaded: "
        "save the model's state_dict, or better a safetensors file, and pass that"
    )


def _damaged(path: Path, error: Exception) -> EncoderError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return EncoderError(
        f"{path} cannot be read as weights ({reason}): it is damaged, cut short, or of another "
        "kind; copy or download it again"
    )
