"""Image encoders that `reid export` wrote and another runtime executes, on the CPU.

Letters: B batch, D width, H W pixels.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.export import ExportedProgram

from reid.adapters.encoders.export_contract import (
    DESCRIPTOR,
    EMBEDDING,
    NO_CAMERA,
    PENULTIMATE,
    output_widths,
)
from reid.adapters.encoders.graph_files import GraphFile
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
from reid.domain.values.samples import ImageSize, Resampling
from reid.small_files import MOST_HEADER_BYTES, parse_json, read_bounded

HEADER_FILE = "encoder.json"
FORMAT = "reid-exported-encoder"
Arrays: TypeAlias = Mapping[str, NDArray[Any]]

Graph: TypeAlias = Callable[[Arrays], Arrays]
"""A compiled graph.

Inputs: `images`, (B, 3, H, W) float32, and for a graph with cameras `camids`, (B,) int64,
zero-based or `NO_CAMERA`. Outputs that were asked for, float32, in memory of their own; see
`output_widths`.
"""


class Runtime(Protocol):
    """A module that writes and executes graphs by one library."""

    def write(
        self,
        program: ExportedProgram,
        folder: Path,
        inputs: Mapping[str, list[int]],
        outputs: Sequence[str],
    ) -> None:
        """Convert a traced program and write it into a folder.

        `inputs` are shapes by name and `outputs` names, in the program's order; -1 for B.

        Raises:
            OSError: The folder cannot be written.
        """
        ...

    def open_graph(self, folder: Path, precision: str, outputs: Sequence[str]) -> Graph:
        """Compile what `write` wrote, to compute some outputs in `fp32` or `bf16`."""
        ...

    def read_graph(self, path: Path, precision: str) -> GraphFile:
        """Read another program's graph, to compute likewise.

        Raises:
            ConfigurationError: The runtime does not know the precision.
            EncoderError: The file is damaged.
        """
        ...


def load_runtime(name: str, *, folder: Path) -> Runtime:
    """Import the runtime of a folder, `openvino` or `onnx`.

    Raises:
        ConfigurationError: It is not installed.
        EncoderError: It is unknown.
    """
    try:
        match name:
            case "openvino":
                from reid.adapters.encoders import openvino_graphs

                return openvino_graphs
            case "onnx":
                from reid.adapters.encoders import onnx_graphs

                return onnx_graphs
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'clip-reid[{name}]'"
        ) from error
    raise EncoderError(f"{folder} was exported for {name!r}, which this version does not know")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """The description of an exported encoder."""

    runtime: str
    precision: str
    description: EncoderDescription  # describes the encoder that was exported
    geometry: EncoderGeometry
    tensors: str  # digest of the exported image tower, by `digest_of`
    files: Mapping[str, str]  # SHA-256 of every other file, by name


def is_exported(path: Path) -> bool:
    """Whether a path is the folder of an exported encoder."""
    return (path / HEADER_FILE).is_file()


def read_export_header(folder: Path) -> ExportHeader:
    """Read the header of an exported encoder.

    Raises:
        EncoderError: The header is damaged, or of a later version of reid.
    """
    try:
        content = parse_json(read_bounded(folder / HEADER_FILE, most_bytes=MOST_HEADER_BYTES))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}")
        geometry = dict(content["geometry"])
        size = ImageSize(**geometry.pop("image_size"))
        mean, std = (tuple(geometry.pop(name)) for name in ("pixel_mean", "pixel_std"))
        resampling = Resampling(geometry.pop("resampling", Resampling.BILINEAR))
        return ExportHeader(
            runtime=content["runtime"],
            precision=content["precision"],
            description=EncoderDescription(**content["description"]),
            geometry=EncoderGeometry(
                image_size=size,
                pixel_mean=mean,
                pixel_std=std,
                resampling=resampling,
                **geometry,
            ),
            tensors=content["tensors"],
            files=dict(content["files"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{folder / HEADER_FILE} cannot be read ({error}): export the encoder again"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedEncoder:
    """Encodes images by a graph, which cannot be trained; behind the image encoder's port."""

    graph: Graph
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
        inputs = {"images": images.detach().numpy()}
        if self.geometry.num_cameras:
            cameras = torch.full((len(images),), NO_CAMERA) if camids is None else camids
            inputs["camids"] = cameras.numpy()
        outputs = {name: torch.from_numpy(array) for name, array in self.graph(inputs).items()}
        widths = [self.geometry.final_width, self.geometry.projected_width]
        final, projected = torch.split(outputs[EMBEDDING], widths, dim=1)
        absent = final.new_empty(len(final), 0)
        return ImageFeatures(outputs.get(PENULTIMATE, absent), final, projected)


def open_exported_encoder(request: EncoderRequest) -> ExportedEncoder:
    """Open an exported encoder, on the CPU whatever the device in the request.

    Raises:
        ConfigurationError: Its runtime is not installed, or options are given.
        EncoderError: It is damaged, or contradicts the request.
    """
    folder = Path(request.weights)
    header = read_export_header(folder)
    _refuse_contradictions(request, header)
    return open_graph_of(header, folder)


def open_graph_of(header: ExportHeader, folder: Path) -> ExportedEncoder:
    """Open a folder whose header is known; `open_exported_encoder` reads it from there.

    Raises:
        ConfigurationError: The runtime is not installed.
        EncoderError: The runtime is unknown, or a file is missing or damaged.
    """
    for name, digest in header.files.items():
        path = folder / name
        if Path(name).name != name:
            raise EncoderError(f"{folder / HEADER_FILE} names a file outside its folder: {name}")
        if not path.is_file() or file_digest(path) != digest:
            raise EncoderError(
                f"{path} is missing or not the file that was exported: copy the whole folder "
                "again, or export the encoder again"
            )
    origin = header.description
    words = f"{origin.weights}, exported for {header.runtime} in {header.precision}"
    outputs = [name for name in output_widths(header.geometry) if name != DESCRIPTOR]
    runtime = load_runtime(header.runtime, folder=folder)
    return ExportedEncoder(
        graph=runtime.open_graph(folder, header.precision, outputs),
        geometry=header.geometry,
        weights_digest=header.tensors,
        description=replace(origin, weights=words),
    )


def file_digest(path: Path) -> str:
    """Compute a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of_files(digests: Mapping[str, str]) -> str:
    """Compute the SHA-256 of several files from theirs, by name."""
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _refuse_contradictions(request: EncoderRequest, header: ExportHeader) -> None:
    """Refuse a request for what the export has fixed; defaults of a request contradict nothing."""
    if request.options:
        raise ConfigurationError("encoder.options: an exported encoder takes none")
    geometry, options = header.geometry, header.description.options
    for what, asked, usual, fixed in (
        ("kind", request.kind, None, header.description.name),
        ("image size", request.image_size, None, geometry.image_size),
        ("stride", request.stride, None, options.get("stride")),
        ("number of cameras", request.num_cameras, 0, geometry.num_cameras),
        ("precision", request.precision, "fp32", header.precision),
        # Older exports do not name their activation and pooling, which are the usual ones.
        *(
            (name, getattr(request, name), usual, options.get(name, usual))
            for name, usual in (("activation", Activation.QUICK_GELU), ("pooling", Pooling.AVERAGE))
        ),
    ):
        if asked not in (usual, fixed):
            raise EncoderError(
                f"{request.weights} was exported with the {what} {fixed}, not {asked}: leave that "
                "out, or export the encoder again"
            )
