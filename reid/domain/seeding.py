"""One seed, one generator per purpose."""

import hashlib

import torch

_SEED_MASK = 2**63 - 1


def generator_for(seed: int, *purpose: str | int) -> torch.Generator:
    """Make a fresh generator that depends on the seed and the purpose alone.

    What is drawn for one purpose (say epoch 7's batches) does not depend on earlier draws: an
    interrupted run continues bit for bit as if it had not been interrupted.

    Args:
        seed: The run's seed.
        purpose: Words and numbers that name what is drawn, for example `"augmentation", 7`; `1` and
            `"1"` are different purposes.
    """
    text = "\x1f".join(repr(part) for part in (seed, *purpose))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") & _SEED_MASK)
