"""Arrangement of images in batches.

Letters: P identities per batch, K images per identity, N images, G groups of an identity.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import chain, cycle, islice, zip_longest

import torch
from torch import Tensor


class Draws:
    """The three random operations that a PK sampler needs, a call and a transfer each."""

    def __init__(self, generator: torch.Generator) -> None:
        """Draw from `generator` and from nothing else."""
        self._generator = generator

    def choose(self, items: Sequence[int], count: int) -> list[int]:
        """Draw `count` items with replacement."""
        rows: list[int] = torch.randint(
            len(items), (count,), generator=self._generator, device=self._generator.device
        ).tolist()
        return [items[row] for row in rows]

    def shuffle(self, items: list[int]) -> None:
        """Shuffle the items in place."""
        items[:] = self.sample(items, len(items))

    def sample(self, items: Sequence[int], count: int) -> list[int]:
        """Draw `count` different items, in random order."""
        rows: list[int] = torch.randperm(
            len(items), generator=self._generator, device=self._generator.device
        )[:count].tolist()
        return [items[row] for row in rows]


def pk_batches(
    labels: Sequence[int],
    *,
    num_identities: int,
    images_per_identity: int,
    draws: Draws,
    camids: Sequence[int] | None = None,
) -> list[list[int]]:
    """Arrange one epoch of batches of P identities with K images each.

    Hermans et al. 2017, arXiv:1703.07737, section 2, as CLIP-ReID does it: each identity's images
    are shuffled and cut into groups of K (an identity with fewer than K repeats some, a remainder
    is left out); a batch takes one group of each of P identities that still have any; the epoch
    ends when fewer than P do, so that the number of batches varies.

    Labels and camids are those of the N images. Camids spread each identity's cameras over its
    groups so that as many as possible meet in each; None cuts groups by chance alone.

    Returns:
        Batches of P * K rows of `labels`, the K rows of an identity side by side.

    Raises:
        ValueError: P or K below 1, or fewer than P identities.
    """
    if num_identities < 1 or images_per_identity < 1:
        given = f"P={num_identities}, K={images_per_identity}"
        raise ValueError(f"a PK batch needs P >= 1 and K >= 1, got {given}")
    split = partial(_groups, size=images_per_identity, draws=draws, camids=camids)
    groups = {label: split(rows) for label, rows in _rows_by(labels, range(len(labels))).items()}
    if len(groups) < num_identities:
        raise ValueError(
            f"a PK batch of {num_identities} identities cannot be filled from {len(groups)}; "
            "lower identities_per_batch or add identities"
        )
    available, batches = list(groups), []
    while len(available) >= num_identities:
        chosen = draws.sample(available, num_identities)
        batches.append([row for label in chosen for row in groups[label].pop(0)])
        available = [label for label in available if groups[label]]
    return batches


def _rows_by(keys: Sequence[int], rows: Iterable[int]) -> dict[int, list[int]]:
    """Sort rows by their keys, in the order in which the keys first come."""
    found: dict[int, list[int]] = {}
    for row in rows:
        found.setdefault(keys[row], []).append(row)
    return found


def _groups(
    rows: list[int], *, size: int, draws: Draws, camids: Sequence[int] | None
) -> list[list[int]]:
    if camids is not None:
        return _groups_across_cameras(rows, size, draws=draws, camids=camids)
    shuffled = draws.choose(rows, size) if len(rows) < size else list(rows)
    draws.shuffle(shuffled)
    return [shuffled[start : start + size] for start in range(0, len(shuffled) - size + 1, size)]


def _groups_across_cameras(
    rows: Sequence[int], size: int, *, draws: Draws, camids: Sequence[int]
) -> list[list[int]]:
    """Form G groups so that the sum of their numbers of cameras is as large as possible."""
    # A round robin over the cameras, in random order, decides which images stay: the remainder left
    # out is then of the cameras with most images, and an identity with fewer than K repeats each
    # image once before any twice. What stays is dealt camera by camera to the groups in turn, so
    # that a camera with n images is in min(n, G) of them.
    rows_by_camera = _rows_by(camids, rows)
    for own in rows_by_camera.values():
        draws.shuffle(own)
    order_of_cameras = list(rows_by_camera)
    draws.shuffle(order_of_cameras)
    cameras = [rows_by_camera[camid] for camid in order_of_cameras]
    turns = chain.from_iterable(zip_longest(*cameras))
    order = [row for row in turns if row is not None]
    num_groups = max(len(order) // size, 1)
    kept = islice(cycle(order), num_groups * size)
    dealt = sorted(kept, key=lambda row: order_of_cameras.index(camids[row]))
    return [dealt[start::num_groups] for start in range(num_groups)]


def shuffled_batches(num_samples: int, batch_size: int, generator: torch.Generator) -> list[Tensor]:
    """Arrange one epoch of batches in which every image stands once.

    Differs from CLIP-ReID, which ends with an empty batch, and a crash, where `batch_size` divides
    `num_samples`.

    Returns:
        Row numbers, int64 on the generator's device, none of the tensors empty; the last batch
        takes the remainder.

    Raises:
        ValueError: Nothing to arrange, or a batch size below 1.
    """
    if num_samples < 1 or batch_size < 1:
        raise ValueError(f"cannot arrange {num_samples} samples in batches of {batch_size}")
    order = torch.randperm(num_samples, generator=generator, device=generator.device)
    return list(torch.split(order, batch_size))
