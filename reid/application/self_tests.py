"""Small cases with known answers, which show whether the parts work on this machine.

Each returns its finding, or raises an error of the part under test.

Letters: B batch, H W pixels, G gallery, D width.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reid.domain.errors import EncoderError, EvaluationError, GalleryError, VectorIndexError
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import summarise
from reid.domain.seeding import generator_for
from reid.domain.services.gallery import Gallery
from reid.domain.training.augmentation import normalise
from reid.domain.values.checkpoints import digest_of
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint, NewImage
from reid.ports.image_encoder import ImageEncoder
from reid.ports.vector_index import VectorIndex

_NUM_ROWS = 256
_WIDTH = 16
_LEAST_FOUND = 0.9  # share of rows that an approximate index must find by their own vectors
_LEAST_ALIKE = 0.999
"""Cosine between two devices' vectors of an image; reduced products such as TF32 stay above."""


def try_encoder(create: Callable[[], ImageEncoder]) -> str:
    """Build an encoder twice from one seed: the same images must have the same vectors."""
    first, second = (digest_of({"vectors": _vectors_by(create())}) for _ in range(2))
    if first != second:
        raise EncoderError(
            f"the same weights gave two answers for the same images: digests {first} and {second}"
        )
    return f"finite, of unit length, twice the same: digest {first[:12]}"


def try_device(create: Callable[[str], ImageEncoder], *, device: str) -> str:
    """Build an encoder on the CPU and on a device: both must give nearly the same vectors."""
    expected, found = _vectors_by(create("cpu")), _vectors_by(create(device))
    alike = float((expected * found).sum(dim=1).min())
    if alike < _LEAST_ALIKE:
        raise EncoderError(f"{device} and cpu describe an image differently: cosine {alike:.4f}")
    return f"{device} computes as the CPU does: cosine {alike:.4f}"


def _vectors_by(encoder: ImageEncoder) -> Tensor:
    """Embed noise: (B, D) float32 on the CPU, rows of unit L2 norm."""
    geometry, name = encoder.geometry, encoder.description.name
    size = (4, 3, geometry.image_size.height, geometry.image_size.width)
    generator = generator_for(0, "self-test")
    pixels = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    images = normalise(
        pixels.to(encoder.device), mean=geometry.pixel_mean, std=geometry.pixel_std
    )  # (B, 3, H, W)
    with torch.no_grad():
        embedded = encoder.encode_images(images).embedding().cpu()  # (B, D)
    if not embedded.isfinite().all():
        raise EncoderError(f"{name} gave vectors that are not finite")
    if not embedded.norm(dim=1).all():
        raise EncoderError(f"{name} gave vectors of no direction: their length is 0")
    return F.normalize(embedded, dim=1)


def try_index(index: VectorIndex) -> str:
    """Search every row of a gallery by itself: all or nearly all must be found, in order."""
    gallery = _unit_rows(_NUM_ROWS)
    index.build(gallery)
    answers = index.search(gallery, 3)
    num_found = int((answers.indices[:, 0] == torch.arange(_NUM_ROWS)).sum())
    if num_found < (1 if index.is_exact else _LEAST_FOUND) * _NUM_ROWS:
        raise VectorIndexError(f"only {num_found} of {_NUM_ROWS} rows find themselves")
    if not (answers.distances.diff(dim=1) >= 0).all():
        raise VectorIndexError("answers are not in the order of their distances")
    return f"{num_found} of {_NUM_ROWS} rows find themselves"


def try_evaluator() -> str:
    """Score a case worked out by hand, in the plane, by the Market-1501 protocol.

    The first query's nearest image is of its own person and camera and does not count; its true
    matches then stand at ranks 2 and 4: AP (1/2 + 2/4) / 2. The second query's only match is first.
    """
    gallery = _in_plane([5, 15, 30, 60, 80], pids=[1, 2, 1, 3, 1], camids=[0, 1, 1, 1, 1])
    report = summarise(
        score_embeddings(_in_plane([0, 16], pids=[1, 2], camids=[0, 0]), gallery),
        num_gallery=len(gallery),
        is_same_camera_removed=True,
        is_exact=True,
        index_recall=1.0,
    )
    known = (0.75, 0.5, 1.0, 1.0, 1.0, 1.0)
    found, wanted = (
        ", ".join(f"{share:.6f}" for share in shares)
        for shares in ((report.mean_average_precision, *report.cmc), known)
    )
    if found != wanted:
        raise EvaluationError(f"a known case scored mAP and CMC {found}, not {wanted}")
    return f"a known case has its mAP {known[0]:.2%} and Rank-1 {known[1]:.2%}"


def try_gallery(open_gallery: Callable[..., Gallery]) -> str:
    """Add people to a new gallery, find them after opening it again, erase one, and check it."""
    vectors = _unit_rows(6)
    entry = partial(AuditEntry, at="2026-01-01T00:00:00Z", subject="self-test")
    with closing(open_gallery(create=True)) as gallery:
        keys = gallery.add(
            [
                NewImage(name=f"{k}.jpg", source="self-test", content=f"{k}", label="abc"[k % 3])
                for k in range(len(vectors))
            ],
            vectors,
            fingerprint=EncoderFingerprint(
                name="self-test", weights="none", digest="self-test", width=_WIDTH
            ),
            entry=entry(action=AuditAction.ADD, num_images=len(vectors)),
        )
    with closing(open_gallery(create=False)) as gallery:
        _require_found(gallery, vectors, keys)
        gone = [one.key for one in gallery.images(labels=["a"])]
        gallery.erase(gone, entry=entry(action=AuditAction.FORGET, num_images=len(gone)))
        left = [row for row, key in enumerate(keys) if key not in gone]
        _require_found(gallery, vectors[left], [keys[row] for row in left])
        answers = set(gallery.search(vectors, len(keys)).indices.flatten().tolist())
        if len(gone) != 2 or answers & set(gone) or gallery.images(keys=gone):
            raise GalleryError("an erased person is still answered")
        if faults := gallery.check():
            raise GalleryError("; ".join(faults))
    return "people are added, found, erased and gone; no fault"


def _require_found(gallery: Gallery, vectors: Tensor, keys: Sequence[int]) -> None:
    found = gallery.search(vectors, 1).indices[:, 0].tolist()
    if found != list(keys):
        raise GalleryError(f"asked for images {list(keys)}, it answered {found}")


def _unit_rows(num_rows: int) -> Tensor:
    """Draw (G, D) float32 rows of unit L2 norm."""
    rows = torch.randn(num_rows, _WIDTH, generator=generator_for(0, "self-test"))
    return F.normalize(rows, dim=1)


def _in_plane(degrees: list[int], *, pids: list[int], camids: list[int]) -> EmbeddingSet:
    angles = torch.tensor(degrees).deg2rad()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)  # (G, 2)
    return EmbeddingSet(points, torch.tensor(pids), torch.tensor(camids))
