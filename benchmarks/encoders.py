"""`python -m benchmarks.encoders [--weights NAME|FILE]`: images per second of small encoders.

Side by side on one core, at 256x128: the shipped encoder by torch, by OpenVINO and by OpenVINO in
int8; Open Model Zoo's person-reidentification-retail-0xxx, those that lie somewhere below the
folder that REID_MODELS_ROOT names, such as `~/.cache/reid/models`; and OSNet x0.25 where the
package `torchreid` is installed, with random weights. Beside the rates is how far each runtime's
descriptors are from torch's in float32.

Encoders take turns, a batch each, and a second is one of processor time, so that neither a machine
whose speed drifts nor other programs on it favour one. The table gives medians.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.embedding import one_core
from benchmarks.harness import machine
from reid.adapters.encoders.architecture import IMAGENET_STATISTICS
from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.graphs import open_graph_encoder
from reid.adapters.encoders.image_tower import ImageTower, Visual
from reid.adapters.encoders.tower_encoder import TowerEncoder, assemble
from reid.adapters.images.folders import open_images
from reid.adapters.synthetic.generator import DrawnDataset
from reid.application.export import MAX_DEVIATION
from reid.container.encoders import create_encoder
from reid.domain.errors import ReidError
from reid.domain.numerical_error import measure_error
from reid.domain.services.image_sample import ImageSample
from reid.domain.values.encoders import EncoderDescription, EncoderGeometry, EncoderRequest
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize
from reid.known_models import catalogue, present_path, resolve_weights
from reid.ports.image_encoder import ImageEncoder

MODELS_ROOT = "REID_MODELS_ROOT"
ZOO = "person-reidentification-retail-*"
SHIPPED = "lite0"
SEED = 1234


@dataclass(frozen=True)
class Size:
    """How much work."""

    kind: str
    """Of the encoder whose weights are drawn, where there are no others."""

    image: ImageSize
    batch: int
    rounds: int
    calibration: int
    """Images to quantise on."""

    identities: int
    """People to draw where no images are given."""


FULL = Size(
    kind="timm:tf_efficientnet_lite0", image=ImageSize(256, 128),
    batch=16, rounds=15, calibration=300, identities=32,
)  # fmt: skip
QUICK = Size(
    kind="timm:test_efficientnet", image=ImageSize(64, 32),
    batch=2, rounds=1, calibration=4, identities=4,
)  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """What one encoder in one runtime came to."""

    encoder: str
    way: str
    """Runtime and precision."""

    parameters: int
    images_per_second: float
    """Of processor time on one core."""

    images_per_wall_second: float
    angle: float | None
    """Largest 1 - cos to torch in float32, mean removed; None where that is not known or is it."""

    is_near: bool | None
    """Whether `reid export` would accept that angle."""


@dataclass
class Contestant:
    """An encoder, and the time that it took for each batch."""

    name: str
    way: str
    encoder: ImageEncoder
    parameters: int
    reference: ImageEncoder | None = None
    largest_angle: float = 0.0
    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def run(self, images: Tensor) -> None:
        """Describe a batch and note its time."""
        wall, processor = time.perf_counter(), time.process_time()
        with torch.no_grad():
            self.encoder.encode_images(images)
        self.processor.append(time.process_time() - processor)
        self.wall.append(time.perf_counter() - wall)

    def angle(self, images: Tensor) -> float | None:
        """Compare with the reference, if there is one."""
        if self.reference is None:
            return None
        with torch.no_grad():
            wanted, got = (
                one.encode_images(images).embedding() for one in (self.reference, self.encoder)
            )
        return measure_error(wanted, got, mean=wanted.mean(dim=0)).angle


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; 2 where weights or images cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--weights",
        metavar="NAME|FILE",
        help=f"encoder to measure; default: {SHIPPED} of `reid models`, or random weights",
    )
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="of people, to calibrate int8 and to compare on; default: drawn ones",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    options = parser.parse_args(arguments)
    size = QUICK if options.quick else FULL
    try:
        with tempfile.TemporaryDirectory() as scratch, one_core():
            folder = Path(scratch)
            sample = _sample(options.images, size, folder)
            found = measure(list(_contestants(options.weights, size, sample, folder)), sample, size)
    except ReidError as error:
        _say(str(error))
        return 2
    print(render(found))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "machine": machine(),
            "image": str(size.image),
            "batch": size.batch,
            "rounds": size.rounds,
            "figures": [asdict(one) for one in found],
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def measure(contestants: Sequence[Contestant], sample: ImageSample, size: Size) -> list[Figures]:
    """Time all in turn, after a batch each that does not count."""
    names = [*sample.compared]
    batch = [names[row % len(names)] for row in range(size.batch)]
    inputs = [sample.read(batch, one.encoder) for one in contestants]
    for number in range(-1, size.rounds):
        for one, images in zip(contestants, inputs, strict=True):
            one.run(images)
            if number < 0:
                one.processor.clear()
                one.wall.clear()
    return [_figures(one, sample, size) for one in contestants]


def _figures(one: Contestant, sample: ImageSample, size: Size) -> Figures:
    angle = one.angle(sample.read(sample.compared, one.encoder))
    return Figures(
        encoder=one.name,
        way=one.way,
        parameters=one.parameters,
        images_per_second=size.batch / statistics.median(one.processor),
        images_per_wall_second=size.batch / statistics.median(one.wall),
        angle=angle,
        is_near=None if angle is None else angle <= one.largest_angle,
    )


def render(found: Sequence[Figures]) -> str:
    """Tabulate as Markdown."""
    lines = [
        "| encoder | runtime | parameters | images/s | 1 - cos to torch fp32 |",
        "|---|---|---|---|---|",
    ]
    for one in found:
        near = "" if one.is_near in (None, True) else ", beyond what `reid export` accepts"
        angle = "-" if one.angle is None else f"{one.angle:.1e}{near}"
        lines.append(
            f"| {one.encoder} | {one.way} | {one.parameters / 1e6:.2f} M | "
            f"{one.images_per_second:.1f} | {angle} |"
        )
    return "\n".join(lines)


def _sample(images: Path | None, size: Size, folder: Path) -> ImageSample:
    if images is None:
        people = DrawnDataset(
            identities=size.identities, test_identities=2, images_per_camera=4, cameras=3
        )
        people.draw(folder / "people")
        images = folder / "people" / "bounding_box_train"
    source = open_images(images)
    return ImageSample(
        reader=source.reader,
        names=[image.name for image in source.images()],
        origin=images.name,
        count=size.calibration,
        seed=SEED,
    )


def _contestants(
    weights: str | None, size: Size, sample: ImageSample, folder: Path
) -> Iterator[Contestant]:
    ours = _our_encoder(weights, size)
    yield from _in_each_runtime(ours, sample, folder / "ours", precisions=("fp32", "int8"))
    root = os.environ.get(MODELS_ROOT)
    if root is None:
        _say(f"{MODELS_ROOT} names no folder of Open Model Zoo's encoders: they are left out")
    else:
        yield from _of_the_zoo(Path(root), size)
    build = _find_osnet()
    if build is None:
        _say("torchreid is not installed: OSNet is left out")
    else:
        osnet = _osnet(build, size)
        yield from _in_each_runtime(osnet, sample, folder / "osnet", precisions=("fp32",))


def _our_encoder(weights: str | None, size: Size) -> TowerEncoder:
    """Take the weights that are asked for, else those that are shipped, else random ones."""
    if weights is None:
        shipped = catalogue().models.get(SHIPPED)
        is_present = shipped is not None and present_path(shipped) is not None
        weights = SHIPPED if is_present else "random"
    if weights == "random":
        _say("random weights: the rates hold for any, the angle for none")
        request = EncoderRequest(kind=size.kind, image_size=size.image, options={"width": 512})
    else:
        path = resolve_weights(weights, may_be_unknown=False)
        request = EncoderRequest(kind=None, weights=path, image_size=size.image)
    encoder = create_encoder(request)
    assert isinstance(encoder, TowerEncoder)
    return encoder


def _in_each_runtime(
    encoder: TowerEncoder, sample: ImageSample, folder: Path, *, precisions: Sequence[str]
) -> Iterator[Contestant]:
    name = f"{encoder.description.name}, {encoder.description.weights}"
    parameters = sum(parameter.numel() for _, parameter in encoder.named_parameters())
    yield Contestant(name, "torch fp32", encoder, parameters)
    if find_spec("openvino") is None:
        _say("openvino is not installed: torch alone is measured")
        return
    for precision in precisions:
        if precision == "int8" and find_spec("nncf") is None:
            _say("nncf is not installed: int8 is left out; pip install 'clip-reid[quantize]'")
            continue
        place = ExportFolder(
            folder / precision, runtime="openvino", precision=precision, sample=sample
        )
        folder.mkdir(exist_ok=True)
        with place.write(encoder) as (written, _):
            yield Contestant(
                name,
                f"OpenVINO {precision}",
                written,
                parameters,
                reference=encoder,
                largest_angle=MAX_DEVIATION[precision],
            )


def _of_the_zoo(root: Path, size: Size) -> Iterator[Contestant]:
    files = sorted(path for path in root.rglob(ZOO) if path.suffix in (".xml", ".onnx"))
    if not files:
        _say(f"{root} holds no {ZOO}: Open Model Zoo's encoders are left out")
    for path in files:
        request = EncoderRequest(kind=None, weights=str(path), image_size=size.image)
        yield Contestant(
            path.name, "OpenVINO fp32", open_graph_encoder(request), _count_weights(path)
        )


def _count_weights(path: Path) -> int:
    """Count the numbers in a graph, a few of which are no parameters."""
    import openvino

    model = openvino.Core().read_model(path)
    return sum(
        math.prod(operation.get_output_shape(0))
        for operation in model.get_ops()
        if operation.get_type_name() == "Constant" and operation.get_element_type().is_real()
    )


def _find_osnet() -> Callable[..., nn.Module] | None:
    """Load torchreid's one file of OSNet: the rest of that package wants many others."""
    package = find_spec("torchreid")
    for place in () if package is None else package.submodule_search_locations or ():
        for path in sorted(Path(place).glob("**/models/osnet.py")):
            spec = spec_from_file_location("osnet", path)
            if spec is not None and spec.loader is not None:
                module = module_from_spec(spec)
                spec.loader.exec_module(module)
                build: Callable[..., nn.Module] = module.osnet_x0_25
                return build
    return None


class _Plain(Visual):
    """A model that returns one vector for an image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, cameras: Tensor | None) -> ImageFeatures:  # noqa: ARG002
        final = self.model(images)
        return ImageFeatures(penultimate=final[:, :0], final=final, projected=final[:, :0])


def _osnet(build: Callable[..., nn.Module], size: Size) -> TowerEncoder:
    model = build(num_classes=1, pretrained=False).eval()
    with torch.no_grad():
        width = model(torch.zeros(1, 3, size.image.height, size.image.width)).shape[1]
    return assemble(
        ImageTower(_Plain(model), camera_scale=1.0),
        None,
        geometry=EncoderGeometry(
            image_size=size.image,
            pixel_mean=IMAGENET_STATISTICS[0],
            pixel_std=IMAGENET_STATISTICS[1],
            penultimate_width=0,
            final_width=width,
            projected_width=0,
        ),
        description=EncoderDescription(
            name="OSNet x0.25", weights="random", is_pretrained=False, is_trained=False
        ),
        request=EncoderRequest(kind=None),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
