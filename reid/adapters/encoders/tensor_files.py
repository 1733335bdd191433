"""Named tensors from safetensors files, pickles and TorchScript archives.

Files are data, never programs: pickles load with torch's weights-only reader, and of TorchScript
archives, as OpenAI published them, only the tensors are read.
"""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from reid.adapters.encoders.torchscript_tensors import read_torchscript
from reid.adapters.safetensors_file import read_safetensors
from reid.domain.errors import EncoderError
from reid.domain.values.json_values import JsonValue

Header: TypeAlias = Mapping[str, JsonValue]


def read_tensors(path: Path) -> tuple[dict[str, Tensor], Header | None]:
    """Read all tensors of a file, and the header that reid's own files have.

    Raises:
        EncoderError: The file is damaged, or holds what could run code.
    """
    with path.open("rb") as file:
        start = file.read(9)
    try:
        if path.suffix == ".safetensors" or start[8:] == b"{":
            return read_safetensors(path)
        content = read_torchscript(path) if _is_torchscript(path) else _read_pickle(path)
    except pickle.UnpicklingError as error:
        raise EncoderError(
            f"{path} is no weights file, or holds Python objects that could run code when loaded: "
            "save the model's state_dict, or better a safetensors file, and pass that"
        ) from error
    except Exception as error:  # damaged pickles and archives raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise EncoderError(
            f"{path} cannot be read as weights ({reason}): it is damaged, cut short, or of another "
            "kind; copy or download it again"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise EncoderError(f"{path} holds a {type(content).__name__}: pass a file of named tensors")
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    return tensors, None


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
        return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
