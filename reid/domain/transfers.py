"""Copies to the device that computes, queued behind its work instead of waiting for it."""

import torch
from torch import Tensor

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
