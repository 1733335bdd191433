"""Devices: their names, and the device and precision that `auto` means on this machine."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

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


class Bf16Speed(NamedTuple):
    """How long bfloat16 takes on the CPU, as multiples of float32's time."""

    products: float  # of matrices, as in a transformer
    convolutions: float

    @property
    def is_slow(self) -> bool:
        """Whether float32 is clearly faster, beyond the noise of a short measurement."""
        return max(self) > 1.5

    def __str__(self) -> str:
        """Word the comparison."""
        return (
            f"bf16 takes {self.products:.2g} times as long as fp32 in matrix products, "
            f"{self.convolutions:.2g} times in convolutions"
        )


def measure_bf16(clock: Callable[[], float] = time.perf_counter) -> Bf16Speed:
    """Time a layer of a ViT and one of a ResNet in both precisions: a fraction of a second.

    Flags of the processor do not tell what happens: a kernel may be missing in the build, switched
    off, or imitated by one that is a hundred times slower.
    """
    layers: tuple[tuple[Callable[..., Tensor], tuple[int, ...], tuple[int, ...]], ...] = (
        (F.linear, (128, 768), (3072, 768)),
        (F.conv2d, (1, 64, 32, 16), (64, 64, 3, 3)),
    )
    ratios = []
    for layer, *shapes in layers:
        fp32, bf16 = (
            _seconds(layer, [torch.ones(shape, dtype=dtype) for shape in shapes], clock)
            for dtype in (torch.float32, torch.bfloat16)
        )
        ratios.append(bf16 / fp32)
    return Bf16Speed(*ratios)


@torch.no_grad()
def _seconds(
    layer: Callable[..., Tensor], inputs: list[Tensor], clock: Callable[[], float]
) -> float:
    """Return the shortest of a few runs, after one that prepares the kernel."""
    layer(*inputs)
    runs = []
    for _ in range(3):
        start = clock()
        layer(*inputs)
        runs.append(clock() - start)
    return min(runs)


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
