"""Which device `auto` means on this machine."""

import torch


def resolve_device(name: str) -> str:
    """Turn `auto` into the accelerator where there is one, else the CPU; keep any other name."""
    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"
