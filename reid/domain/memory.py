"""Memory of devices: copies into it, and errors when it runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from reid.domain.errors import ConfigurationError

_PHRASES = ("out of memory", "allocate memory", "alloc_failed", "bad_alloc")
"""What allocators say: CUDA's and MPS's, the CPU's, cuBLAS's, the C++ library's."""

_WHOLE_MESSAGES = ("could not create a primitive", "could not create a memory object")
"""oneDNN's errors when its code or buffers find no memory; they do not name the cause. What it
cannot compute it refuses earlier, by longer messages that begin alike."""

_WITHOUT_QUEUED_COPIES = ("cpu", "meta", "mps")
"""Apple's processors share one memory; a meta device has none."""


def to_device(device: torch.device, tensor: Tensor) -> Tensor:
    """Copy a tensor to a device; a tensor that is there already is returned as it is.

    A copy from ordinary memory waits until the device has done all work queued before, once per
    tensor and step. A copy from page-locked memory takes its place in the queue.
    """
    if tensor.device.type != "cpu" or device.type in _WITHOUT_QUEUED_COPIES:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@contextmanager
def explain_out_of_memory(settings: str, *, during: str) -> Iterator[None]:
    """Turn an error of memory that ran out in the block into advice on what to do.

    Args:
        settings: Names of the settings that decide how many images are processed at once.
        during: What the block does.

    Raises:
        ConfigurationError: Memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigurationError(
            f"memory ran out {during}: lower {settings}, or free memory that other programs hold; "
            "what was saved before is kept"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that an allocation failed."""
    is_named = isinstance(error, MemoryError | torch.OutOfMemoryError)
    said = str(error).lower().strip()
    return is_named or said in _WHOLE_MESSAGES or any(phrase in said for phrase in _PHRASES)
