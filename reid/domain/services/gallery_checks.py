"""Conditions on additions to a gallery, on queries, and on what it has kept."""

import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EncoderStamp,
    KeptPicture,
    NewPicture,
    is_keepable,
    require_same_encoder,
)

NORM_TOLERANCE = 1e-3
"""How far from 1 a norm may be: rounding to float16 stays within."""


def check_additions(
    pictures: Sequence[NewPicture],
    vectors: Tensor,
    *,
    stamp: EncoderStamp,
    kept: EncoderStamp | None,
    place: str,
) -> None:
    """Refuse additions that make no sense, or do not go with what is kept.

    Raises:
        GalleryError: Another encoder made what is kept, lengths differ, an image is named twice, a
            text holds NUL, or a row is not of unit norm.
    """
    require_same_encoder(stamp, kept=kept, place=place, what="the new pictures")
    if vectors.shape != (len(pictures), stamp.width):
        raise GalleryError(
            f"{len(pictures)} pictures of width {stamp.width} cannot have vectors "
            f"{tuple(vectors.shape)}"
        )
    names = [(picture.source, picture.image) for picture in pictures]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GalleryError(f"{twice[1]} of {twice[0]} is added twice at once: list it once")
    for picture in pictures:
        texts = (picture.image, picture.source, picture.content, picture.label, picture.camera)
        stray = next((text for text in texts if text is not None and not is_keepable(text)), None)
        if stray is not None:
            raise GalleryError(
                f"{place} cannot keep {stray!r} of {picture.image!r}: leave NUL characters out"
            )
    if not are_unit(vectors):
        raise GalleryError("vectors must be of unit L2 norm: normalise embeddings first")


def check_question(
    queries: Tensor, *, k: int, stamp: EncoderStamp | None, num_pictures: int
) -> None:
    """Refuse searches that no gallery can answer.

    Raises:
        GalleryError: Nothing is kept, k below 1, or queries of another width or not of unit norm.
    """
    if stamp is None or num_pictures == 0:
        raise GalleryError("the gallery is empty: add pictures first")
    if k < 1:
        raise GalleryError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != stamp.width:
        raise GalleryError(
            f"queries {tuple(queries.shape)} do not fit a gallery of width {stamp.width} made by "
            f"{stamp}"
        )
    if not are_unit(queries):
        raise GalleryError("queries must be of unit L2 norm: normalise embeddings first")


def require_kept(keys: Iterable[int], kept: Container[int], *, place: str) -> None:
    """Refuse to look up what is not there.

    Raises:
        GalleryError: A key is not kept; names the first of them.
    """
    missing = next((key for key in keys if key not in kept), None)
    if missing is not None:
        raise GalleryError(f"{place} keeps no picture with the key {missing}")


def are_unit(vectors: Tensor) -> bool:
    """Whether all (N, D) rows are of unit L2 norm, and so finite."""
    norms = torch.linalg.vector_norm(vectors, dim=1)  # (N,)
    return bool(((norms - 1).abs() <= NORM_TOLERANCE).all())  # false for NaN, too


def checksum_of(vector: np.ndarray) -> int:
    """CRC-32 of a (D,) float32 vector, to notice when it changes."""
    return zlib.crc32(np.ascontiguousarray(vector, dtype="<f4").tobytes())


def checksums_of(vectors: Tensor) -> list[int]:
    """CRC-32 of each of (N, D) vectors."""
    return [zlib.crc32(row) for row in as_array(vectors)]


def as_array(vectors: Tensor) -> np.ndarray:
    """Give vectors as little-endian float32 in one piece."""
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy(), dtype="<f4")


def faults_of_vectors(
    pictures: Sequence[KeptPicture], vectors: Tensor, *, checksums: Mapping[int, int]
) -> Iterator[str]:
    """Compare (N, D) vectors of N images with their checksums by key, and their norms with 1.

    Yields:
        A sentence per fault.
    """
    norms = torch.linalg.vector_norm(vectors, dim=1).tolist()
    for picture, checksum, norm in zip(pictures, checksums_of(vectors), norms, strict=True):
        named = f"{picture.image} of {picture.source} (key {picture.key})"
        if checksum != checksums.get(picture.key):
            yield (
                f"the vector of {named} is damaged: remove the picture, then compact the gallery"
            )
        elif not abs(norm - 1) <= NORM_TOLERANCE:
            yield f"the vector of {named} has L2 norm {norm:.4g}, not 1"
