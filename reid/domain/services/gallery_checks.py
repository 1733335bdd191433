"""Conditions on additions to a gallery, on queries, and on what it has kept."""

import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from reid.domain.errors import GalleryError
from reid.domain.values.galleries import (
    EncoderFingerprint,
    GalleryDescription,
    KeptImage,
    NewImage,
    is_keepable,
    require_same_encoder,
)

NORM_TOLERANCE = 1e-3  # how far a norm may be from 1; rounding to float16 stays within


def check_additions(
    images: Sequence[NewImage],
    vectors: Tensor,
    *,
    fingerprint: EncoderFingerprint,
    kept: EncoderFingerprint | None,
    place: str,
) -> None:
    """Refuse additions that are malformed or do not fit what is kept.

    Raises:
        GalleryError: Another encoder made what is kept, lengths differ, an image is named twice, a
            text holds NUL, or a row is not of unit norm.
    """
    require_same_encoder(fingerprint, kept=kept, place=place, what="the new images")
    if vectors.shape != (len(images), fingerprint.width):
        raise GalleryError(
            f"{len(images)} images of width {fingerprint.width} cannot have vectors "
            f"{tuple(vectors.shape)}"
        )
    names = [(image.source, image.name) for image in images]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise GalleryError(f"{twice[1]} of {twice[0]} is added twice at once: list it once")
    for image in images:
        texts = (image.name, image.source, image.content, image.label, image.camera)
        stray = next((text for text in texts if text is not None and not is_keepable(text)), None)
        if stray is not None:
            raise GalleryError(
                f"{place} cannot keep {stray!r} of {image.name!r}: leave NUL characters out"
            )
    if not are_unit(vectors):
        raise GalleryError("vectors must be of unit L2 norm: normalise embeddings first")


def check_queries(queries: Tensor, *, k: int, known: GalleryDescription) -> None:
    """Refuse searches of an empty gallery, with k below 1, or by vectors that do not fit."""
    fingerprint = known.fingerprint
    if fingerprint is None or known.num_images == 0:
        raise GalleryError("the gallery is empty: add images first")
    if k < 1:
        raise GalleryError(f"k must be at least 1, got {k}")
    if queries.ndim != 2 or queries.shape[1] != fingerprint.width:
        raise GalleryError(
            f"queries {tuple(queries.shape)} do not fit a gallery of width {fingerprint.width} "
            f"made by {fingerprint}"
        )
    if not are_unit(queries):
        raise GalleryError("queries must be of unit L2 norm: normalise embeddings first")


def require_kept(keys: Iterable[int], kept: Container[int], *, place: str) -> None:
    """Raise a GalleryError that names the first key that is not kept, if there is one."""
    missing = next((key for key in keys if key not in kept), None)
    if missing is not None:
        raise GalleryError(f"{place} keeps no image with the key {missing}")


def are_unit(vectors: Tensor) -> bool:
    """Whether all (N, D) rows are of unit L2 norm, and so finite."""
    norms = torch.linalg.vector_norm(vectors, dim=1)  # (N,)
    return bool(((norms - 1).abs() <= NORM_TOLERANCE).all())  # false for NaN, too


def checksums_of(vectors: Tensor) -> list[int]:
    """CRC-32 of each of (N, D) vectors."""
    return [zlib.crc32(row) for row in as_array(vectors)]


def as_array(vectors: Tensor) -> np.ndarray:
    """Convert vectors to contiguous little-endian float32."""
    return np.ascontiguousarray(vectors.detach().cpu().float().numpy(), dtype="<f4")


def faults_of_vectors(
    images: Sequence[KeptImage], vectors: Tensor, *, checksums: Mapping[int, int]
) -> Iterator[str]:
    """Compare (N, D) vectors of N images with their checksums by key, and their norms with 1.

    Yields:
        A sentence per fault.
    """
    norms = torch.linalg.vector_norm(vectors, dim=1).tolist()
    for image, checksum, norm in zip(images, checksums_of(vectors), norms, strict=True):
        named = f"{image.name} of {image.source} (key {image.key})"
        if checksum != checksums.get(image.key):
            yield f"the vector of {named} is damaged: remove the image, then compact the gallery"
        elif not abs(norm - 1) <= NORM_TOLERANCE:
            yield f"the vector of {named} has L2 norm {norm:.4g}, not 1"
