"""`python -m benchmarks.cuda`: both training stages at Market-1501's size on a CUDA device.

The services that `reid train` runs are timed as they are, on images that lie on the device as
uint8: nothing is decoded. What the images show is noise, which costs the same.

Letters: N images.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.harness import machine
from reid.adapters.runs.filesystem import FilesystemRunStore
from reid.container.encoders import create_encoder, encoder_request
from reid.domain.events import EpochFinished, Event, ImagesEmbedded, StageStarted
from reid.domain.memory import to_device
from reid.domain.seeding import generator_for
from reid.domain.services.embedding import Embedder
from reid.domain.services.fine_tuning import FineTuning
from reid.domain.services.prompt_learning import PromptLearning
from reid.domain.services.stage_loop import StageLoop
from reid.domain.values.checkpoints import Checkpoint
from reid.domain.values.samples import ImageSize, Resampling, Sample, Split, UnreadableImage
from reid.ports.image_encoder import TrainableEncoder
from reid.ports.runs import RunMode
from reid.settings.loading import load_settings
from reid.settings.schema import Settings

STAGE_ONE_GOAL = 60.0
"""Seconds for the whole of stage 1, features included; the issue's."""

FORWARD_GFLOP = {"vit-b16": 22.8, "rn50": 13.3}
"""Per image of 256x128, all tokens and positions; training takes three times as much."""

CAMERAS = 6


@dataclass(frozen=True)
class Size:
    """How much work."""

    kinds: tuple[str, ...]
    images: int
    identities: int
    matrix: int
    """Side of the square matrices that the rate is measured with."""

    prompt_epochs: int | None = None
    """None: as many as the recipe says."""


FULL = Size(kinds=("vit-b16", "rn50"), images=12936, identities=751, matrix=8192)
QUICK = Size(kinds=("vit-tiny", "rn-tiny"), images=128, identities=16, matrix=256, prompt_epochs=2)


@dataclass(frozen=True)
class Figures:
    """What one encoder came to."""

    kind: str
    precision: str
    """Of stage 2's passes through the image encoder."""

    features_seconds: float
    """All training images through the image encoder, once, before stage 1."""

    prompt_epochs: int
    prompt_epoch_seconds: float
    """Median."""

    prompts_seconds: float
    """The whole of stage 1: features and all epochs, measured and not extrapolated."""

    is_prompts_goal_met: bool
    images_per_second: float
    """Of stage 2, over its last epoch."""

    matrix_rate_share: float | None
    """Of the bfloat16 matrix rate, counting nominal work; None where that is not known."""

    peak_mib: float | None
    """Of device memory; None on a CPU."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write JSON; 2 where there is no such device."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu with --quick")
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--compile", action="store_true", help="set encoder.compile")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(
            "no CUDA device on this machine, so nothing was measured; run this where there is one, "
            "or try its path by --device cpu --quick",
            file=sys.stderr,
        )
        return 2
    if device.type != "cuda" and not options.quick:
        parser.error("full sizes would take days on a CPU: add --quick")
    size = QUICK if options.quick else FULL
    results = measure(size, device=device, compiles=options.compile)
    text = json.dumps(results, indent=2)
    print(text)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return 0


def measure(size: Size, *, device: torch.device, compiles: bool = False) -> dict[str, object]:
    """Time both stages with each encoder."""
    rate = matrix_rate(size.matrix, device=device)
    settings = [_settings(kind, device=device, compiles=compiles) for kind in size.kinds]
    figures = [_figures(one, size, device=device, rate=rate) for one in settings]
    return {
        "machine": machine() | {"measured on": str(device)},
        "tf32": {
            "matrix products": torch.backends.cuda.matmul.allow_tf32,
            "convolutions": torch.backends.cudnn.allow_tf32,
        },
        "compile": compiles,
        "images": size.images,
        "bf16_matrix_tflops": rate / 1e12,
        "stage_one_goal_seconds": STAGE_ONE_GOAL,
        "figures": [asdict(figure) for figure in figures],
    }


def matrix_rate(side: int, *, device: torch.device, runs: int = 20) -> float:
    """Multiply square bfloat16 matrices: floating-point operations per second, best of runs."""
    left, right = (torch.ones(side, side, dtype=torch.bfloat16, device=device) for _ in range(2))
    seconds = []
    for _ in range(runs):
        _wait_for(device)
        began = time.perf_counter()
        torch.mm(left, right)
        _wait_for(device)
        seconds.append(time.perf_counter() - began)
    return 2 * side**3 / min(seconds)


def _figures(settings: Settings, size: Size, *, device: torch.device, rate: float) -> Figures:
    request = encoder_request(settings, 0)
    encoder = create_encoder(request)
    images = ResidentImages.draw(size, encoder.geometry.image_size, device=device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder:
        work = _Work(settings, encoder, images, FilesystemRunStore(Path(folder)))
        prompts_clock, prompts = work.learn_prompts(size.prompt_epochs)
        tuning_clock = work.fine_tune(prompts)
    rate = tuning_clock.images_per_second
    gflop = FORWARD_GFLOP.get(encoder.description.name)
    return Figures(
        kind=encoder.description.name,
        precision=request.training_precision or request.precision,
        features_seconds=prompts_clock.features_seconds,
        prompt_epochs=len(prompts_clock.epochs),
        prompt_epoch_seconds=statistics.median(prompts_clock.epochs),
        prompts_seconds=prompts_clock.seconds,
        is_prompts_goal_met=prompts_clock.seconds <= STAGE_ONE_GOAL,
        images_per_second=rate,
        matrix_rate_share=None if gflop is None else rate * 3 * gflop * 1e9 / rate,
        peak_mib=(
            torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
        ),
    )


def _settings(kind: str, *, device: torch.device, compiles: bool) -> Settings:
    """Take the recipe that goes with an encoder."""
    return load_settings(
        options={
            "encoder.kind": kind,
            "encoder.weights": "random",
            "encoder.compile": compiles,
            "device": str(device),
        }
    ).settings


class _Work:
    """Both stages in one run."""

    def __init__(
        self,
        settings: Settings,
        encoder: TrainableEncoder,
        images: "ResidentImages",
        runs: FilesystemRunStore,
    ) -> None:
        self._settings = settings
        self._encoder = encoder
        self._images = images
        self._runs = runs
        runs.begin({}, {}, mode=RunMode.NEW)

    def learn_prompts(self, epochs: int | None) -> tuple["Clock", Checkpoint]:
        clock = Clock()
        recipe = self._settings.prompts
        recipe = replace(recipe, epochs=epochs or recipe.epochs)
        stage = PromptLearning(
            encoder=self._encoder,
            dataset=self._images,
            embedder=Embedder(encoder=self._encoder, listener=clock, batch_size=64),
            loop=StageLoop(runs=self._runs, listener=clock, checkpoint_every=recipe.epochs),
            recipe=recipe,
            seed=1,
        )
        return clock, stage.run()

    def fine_tune(self, prompts: Checkpoint) -> "Clock":
        clock = Clock()
        # The first epoch warms up; the second is the one that is reported.
        recipe = replace(self._settings.finetuning, epochs=2)
        stage = FineTuning(
            encoder=self._encoder,
            dataset=self._images,
            loop=StageLoop(runs=self._runs, listener=clock, checkpoint_every=recipe.epochs),
            recipe=recipe,
            seed=1,
        )
        stage.run(prompts)
        return clock


@dataclass
class Clock:
    """Listens when epochs end: their losses have been read by then, so the device is done."""

    began: float = field(default_factory=time.perf_counter)
    features_seconds: float = 0.0
    epochs: list[float] = field(default_factory=list)
    """Seconds each."""

    seconds: float = 0.0
    """From the beginning to the end of the last epoch."""

    images_per_second: float = 0.0
    """Over the last epoch."""

    _mark: float = 0.0

    def __call__(self, event: Event, /) -> None:
        """Note the time."""
        now = time.perf_counter()
        match event:
            case ImagesEmbedded(done=done, total=total) if done == total:
                self.features_seconds = now - self.began
            case StageStarted():
                self._mark = now
            case EpochFinished(num_images=num_images):
                self.epochs.append(now - self._mark)
                self.images_per_second = num_images / self.epochs[-1]
                self.seconds = now - self.began
                self._mark = now
            case _:
                pass


class ResidentImages:
    """Random images that lie on a device, as many of each person as of any other."""

    def __init__(self, pixels: Tensor, *, identities: int) -> None:
        """Take (N, 3, H, W) uint8."""
        self._pixels = pixels
        self._samples = tuple(
            Sample(name=str(row), pid=row % identities, camid=row % CAMERAS)
            for row in range(len(pixels))
        )

    @classmethod
    def draw(cls, size: Size, image: ImageSize, *, device: torch.device) -> "ResidentImages":
        """Draw noise where it is to stay."""
        shape = (size.images, 3, image.height, image.width)
        one = torch.randint(
            256, shape[1:], dtype=torch.uint8, generator=generator_for(1, "benchmark")
        ).to(device)
        shades = (torch.arange(size.images, device=device) % 256).to(torch.uint8)
        return cls(one + shades.view(-1, 1, 1, 1), identities=size.identities)

    @property
    def name(self) -> str:
        """What to call it."""
        return "resident"

    @property
    def reader(self) -> "ResidentImages":
        """Read where the images lie."""
        return self

    def samples(self, split: Split) -> tuple[Sample, ...]:
        """List the images; all splits are the same."""
        del split
        return self._samples

    def unparsed_names(self, split: Split) -> tuple[str, ...]:
        """List none."""
        del split
        return ()

    def find_unreadable(self, names: Sequence[str]) -> tuple[UnreadableImage, ...]:
        """List none."""
        del names
        return ()

    def thumbnails(self, names: Sequence[str], *, height: int) -> tuple[bytes | None, ...]:
        """Make none; nobody looks."""
        del height
        return (None,) * len(names)

    def content_digests(self, names: Sequence[str]) -> tuple[str, ...]:
        """Make none; nobody compares."""
        return ("",) * len(names)

    def read(self, names: Sequence[str], *, size: ImageSize, resampling: Resampling) -> Tensor:
        """Gather on the device; the images have their size already."""
        del size, resampling
        rows = torch.tensor([int(name) for name in names])
        return self._pixels[to_device(self._pixels.device, rows)]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    sys.exit(main())
