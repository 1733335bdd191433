"""Image encoders in graphs that another program wrote: OpenVINO IR (.xml) and ONNX files.

Letters: B batch, D width, H W pixels.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from reid.adapters.encoders.exported import file_digest, load_runtime
from reid.adapters.encoders.graph_contracts import contract_of, over_preset
from reid.adapters.encoders.graph_files import ANY, GraphFile, Run, Shape
from reid.adapters.encoders.image_tower import check_inputs
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.encoders import (
    Activation,
    EncoderDescription,
    EncoderGeometry,
    EncoderRequest,
    Pooling,
)
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize

RUNTIMES = {".xml": ("openvino",), ".onnx": ("onnx", "openvino")}
"""That execute a file of this suffix; the first is its own."""

_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f])", re.DOTALL)
"""Precedes the name of a file in ONNX's `TensorProto.external_data`; the group is its length."""

_NUM_PROBES = 3
_ALIKE = 1e-3  # of the largest entry; a graph that mixes up the images of a batch is far beyond


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEncoder:
    """Encodes images by a graph, which cannot be trained; behind the image encoder's port.

    Normalisation is the geometry's, as for every encoder; only the order of axes is left to do.
    """

    run: Run
    is_bgr: bool
    is_channels_last: bool
    input_type: DTypeLike
    geometry: EncoderGeometry
    description: EncoderDescription
    weights_digest: str

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Encode images, without gradient; see the port."""
        check_inputs(images, camids, geometry=self.geometry, weights=self.description.weights)
        count, width = len(images), self.geometry.final_width
        if not count:
            return ImageFeatures(*(images.new_zeros(0, size) for size in (0, width, 0)))
        pixels: NDArray[Any] = images.detach().numpy()  # (B, 3, H, W)
        if self.is_bgr:
            pixels = pixels[:, ::-1]
        if self.is_channels_last:
            pixels = pixels.transpose(0, 2, 3, 1)  # (B, H, W, 3)
        if np.issubdtype(self.input_type, np.integer):
            pixels = np.rint(pixels)
        found = self.run(np.ascontiguousarray(pixels, dtype=self.input_type))
        final = torch.from_numpy(np.asarray(found, dtype=np.float32).reshape(count, -1))
        if not final.isfinite().all():
            raise EncoderError(
                f"{self.description.weights} computes descriptors that are not finite: set another "
                "encoder.graph.runtime, or correct encoder.graph.range, mean and std"
            )
        return ImageFeatures(final.new_zeros(count, 0), final, final.new_zeros(count, 0))


def is_graph(path: Path) -> bool:
    """Whether a path is named as a graph's file is."""
    return path.suffix.lower() in RUNTIMES


def open_graph_encoder(request: EncoderRequest) -> GraphEncoder:
    """Open a graph, on the CPU whatever the device in the request.

    Raises:
        ConfigurationError: Its runtime is not installed, the request has options that only other
            encoders take, or does not say how the graph takes its images.
        EncoderError: The file is missing, damaged, or no encoder of single images.
    """
    path = Path(request.weights)
    if not path.is_file():
        raise EncoderError(f"{path} does not exist: name the .xml or .onnx file of a graph")
    _refuse_foreign(request, path)
    given = over_preset(request.graph, name=path.stem)
    contract = contract_of(given, name=path.name)
    file = _read_file(path, runtime=given.runtime, precision=request.precision)
    free, *lengths = _input_shape(path, file)
    is_channels_last = lengths[0] != 3 and lengths[2] == 3
    size = _image_size(path, lengths[:2] if is_channels_last else lengths[1:], request.image_size)
    sides = (size.height, size.width)
    shape = (free, *sides, 3) if is_channels_last else (free, 3, *sides)
    output = _output(path, file, given.output)
    run = _batched(file, shape, output=output, batch=given.batch)
    return GraphEncoder(
        run=run,
        is_bgr=contract.is_bgr,
        is_channels_last=is_channels_last,
        input_type=file.input_type,
        geometry=contract.geometry(
            size=size, width=run(np.zeros((1, *shape[1:]), file.input_type)).size
        ),
        description=EncoderDescription(
            name=path.stem,
            weights=path.name,
            is_pretrained=True,
            options={"image_size": [*sides], "output": output, **contract.options()},
        ),
        weights_digest=_digest(path),
    )


def _refuse_foreign(request: EncoderRequest, path: Path) -> None:
    """Refuse what only other encoders can be asked for; defaults of a request ask for nothing."""
    for setting, asked, usual in (
        ("kind", request.kind, None),
        ("stride", request.stride, None),
        ("camera_embedding", request.num_cameras, 0),
        ("activation", request.activation, Activation.QUICK_GELU),
        ("pooling", request.pooling, Pooling.AVERAGE),
        ("options", dict(request.options), {}),
    ):
        if asked != usual:
            raise ConfigurationError(
                f"encoder.{setting}: {path.name} is a graph, which fixes that: leave it out"
            )


def _read_file(path: Path, *, runtime: str | None, precision: str) -> GraphFile:
    """Read a file by the given runtime, else by its own, or the other one that takes it too."""
    first, *others = RUNTIMES[path.suffix.lower()]
    if runtime is not None and runtime not in (first, *others):
        raise ConfigurationError(
            f"encoder.graph.runtime: {runtime} does not execute {path.name}: leave it out"
        )
    if runtime is not None or not others:
        return load_runtime(runtime or first, folder=path).read_graph(path, precision)
    try:
        return load_runtime(first, folder=path).read_graph(path, precision)
    except ConfigurationError as missing:
        try:
            return load_runtime(others[0], folder=path).read_graph(path, precision)
        except ConfigurationError:
            raise missing from None


def _input_shape(path: Path, file: GraphFile) -> Shape:
    (shape, *more) = file.inputs.values()
    if more or len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise EncoderError(
            f"{path} takes {_listed(file.inputs)}: an encoder takes one batch of images with 3 "
            "channels"
        )
    return shape


def _image_size(path: Path, sides: Sequence[int], asked: ImageSize | None) -> ImageSize:
    """Return the graph's size, or the one asked for where the graph takes it."""
    wanted = sides if asked is None else (asked.height, asked.width)
    if any(side not in (ANY, want) for side, want in zip(sides, wanted, strict=True)):
        raise EncoderError(
            f"{path} takes images of {sides[0]}x{sides[1]}, not {asked}: leave the image size out"
        )
    if ANY in wanted:
        raise ConfigurationError(
            f"encoder.image_size: {path.name} takes images of any size; set the height and width "
            "that it was trained with"
        )
    return ImageSize(*wanted)


def _output(path: Path, file: GraphFile, named: str | None) -> str:
    if named is not None and named in file.outputs:
        return named
    if named is None and len(file.outputs) == 1:
        return next(iter(file.outputs))
    what = "an output is to be chosen" if named is None else f"there is no output {named!r}"
    raise ConfigurationError(
        f"encoder.graph.output: {what}; {path.name} has {_listed(file.outputs)}"
    )


def _batched(file: GraphFile, shape: Shape, *, output: str, batch: int | None) -> Run:
    """Prepare a run for any number of images.

    A graph that fixes a number may take any once its shapes are computed anew. It does where the
    descriptors of a batch are those of its images one by one; else it is fed what it fixes.
    """
    free, *sides = shape
    fixed = free if batch is None else batch
    if fixed == ANY:
        return file.compile(shape, output)
    in_parts = partial(_run_in_parts, file.compile((fixed, *sides), output), size=fixed)
    if batch is not None:
        return in_parts
    try:
        together = file.compile((ANY, *sides), output)
        probes = torch.rand(_NUM_PROBES, *sides, generator=torch.Generator().manual_seed(0))
        images = (255 * probes).numpy().astype(file.input_type)
        wanted, got = in_parts(images), together(images)
    except EncoderError:
        return in_parts
    if got.shape != wanted.shape or not np.isfinite([got, wanted]).all():
        return in_parts
    return together if np.abs(got - wanted).max() <= _ALIKE * np.abs(wanted).max() else in_parts


def _run_in_parts(run: Run, images: NDArray[Any], *, size: int) -> NDArray[Any]:
    """Feed `size` images at a time; the last part is filled up by its last image."""
    found = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        filling = np.repeat(part[-1:], size - len(part), axis=0)
        found.append(run(np.concatenate([part, filling]))[: len(part)])
    return np.concatenate(found)


def _digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or that of its digest and those of its weights' files."""
    digests = [file_digest(file) for file in (path, *_weights_beside(path)) if file.is_file()]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _weights_beside(path: Path) -> list[Path]:
    """List the files with weights of a graph: an IR's, or those that an ONNX file names."""
    if path.suffix.lower() == ".xml":
        return [path.with_suffix(".bin")]
    content = path.read_bytes()
    names = {
        content[found.end() : found.end() + found[1][0]].decode(errors="replace")
        for found in _LOCATION.finditer(content)
    }
    return [path.parent / name for name in sorted(names)]


def _listed(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(
        f"{name} ({', '.join('?' if length == ANY else str(length) for length in shape)})"
        for name, shape in shapes.items()
    )
