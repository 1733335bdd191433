"""Devices: their names, and the device and precision that `auto` means on this machine."""

import torch

from reid.domain.values.checkpoints import JsonValue


def resolve_device(name: str) -> str:
    """Turn `auto` into the accelerator where there is one, else the CPU; keep any other name."""
    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"


def resolve_training_precision(name: str, *, precision: str, device: str) -> str:
    """Turn `auto` into bf16 on an accelerator that multiplies in it; keep any other name.

    A CPU keeps `precision`, which is that of all other work, though bfloat16 may be faster there
    too: results stay reproducible to the last bit by default.
    """
    if name != "auto":
        return name
    # Adapters may ask the driver; the core never does.
    is_fast = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported(  # noqa: TID251
        including_emulation=False
    )
    return "bf16" if is_fast else precision


def name_of_device(name: str) -> str | None:
    """Return the maker's name of an accelerator; None where torch has none, as for a CPU."""
    device = torch.device(name)
    tell = getattr(torch.get_device_module(device), "get_device_name", None)
    return None if tell is None else str(tell(device))


def torch_facts() -> dict[str, JsonValue]:
    """Describe torch's build and the devices that it finds."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if accelerator is not None else 0
    devices = [f"{accelerator}:{number}" for number in range(count)]
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "accelerators": [f"{device} {name_of_device(device) or ''}".rstrip() for device in devices],
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "threads between operations": torch.get_num_interop_threads(),
    }
