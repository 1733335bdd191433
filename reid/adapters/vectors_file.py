"""Vectors from NumPy files."""

import tokenize
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import VectorIndexError

_DAMAGE = (OSError, ValueError, EOFError, MemoryError, SyntaxError, tokenize.TokenError)
"""Errors of NumPy, which parses a file's header as Python."""


def read_vectors(path: Path) -> Tensor:
    """Read an .npy file, or concatenate those of a folder in the order of their names.

    Returns:
        (N, D) float32, rows normalised to unit L2 norm.

    Raises:
        VectorIndexError: There are none, one cannot be read, or their widths differ.
    """
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    if not files:
        raise VectorIndexError(f"{path} holds neither a gallery nor .npy files of vectors")
    parts = [_read(file) for file in files]
    if len({part.shape[1] for part in parts}) > 1:
        raise VectorIndexError(f"the vectors in {path} are of several widths")
    vectors = torch.cat(parts)
    norms = torch.linalg.vector_norm(vectors, dim=1)
    if not bool((norms.isfinite() & (norms > 0)).all()):
        raise VectorIndexError(f"{path} holds a vector that is zero or not finite")
    return F.normalize(vectors, dim=1)


def _read(file: Path) -> Tensor:
    try:
        values = np.load(file, allow_pickle=False)
    except _DAMAGE as error:
        raise VectorIndexError(f"{file} cannot be read as vectors: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind != "f":
        raise VectorIndexError(f"{file} should hold a (N, D) array of floating-point numbers")
    return torch.from_numpy(values.astype(np.float32))
