"""Image encoders that `reid export` wrote and another runtime executes, on the CPU.

Letters: B batch, D width, H W pixels.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.adapters.encoders.input_checks import check_cameras, check_images
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import JsonValue
from reid.domain.values.encoders import (
    Activation,
    EncoderDescription,
    EncoderGeometry,
    EncoderRequest,
    Pooling,
)
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize
from reid.small_files import MOST_HEADER_BYTES, parse_json, read_bounded

HEADER_FILE = "encoder.json"
FORMAT = "reid-exported-encoder"
NO_CAMERA = -1
"""Value of the graph's `camids` input for an image without a camera."""

OUTPUTS = ("embedding", "penultimate")
"""Names of a graph's outputs in its file, in the order of `Graph.run`."""


class Graph(Protocol):
    """A compiled graph."""

    def run(
        self, images: NDArray[np.float32], camids: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Execute.

        Args:
            images: (B, 3, H, W).
            camids: (B,) zero-based or `NO_CAMERA`; None for a graph without cameras.

        Returns:
            (B, D1 + D2) final and projected features and (B, D0) penultimate ones, not normalised,
            in memory of their own.
        """
        ...


def graph_inputs(
    images: NDArray[np.float32], camids: NDArray[np.int64] | None
) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """Name the arguments of `Graph.run` as a graph's file does."""
    return {"images": images} if camids is None else {"images": images, "camids": camids}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """The description of an exported encoder."""

    runtime: str
    """`openvino` or `onnx`."""

    precision: str
    """`fp32` or `bf16`."""

    description: EncoderDescription
    """Describes the encoder that was exported."""

    geometry: EncoderGeometry
    tensors: str
    """Digest of the exported image tower, by `digest_of`."""

    files: Mapping[str, str]
    """SHA-256 of every other file, by name."""

    def as_json(self) -> dict[str, JsonValue]:
        """Write for `read_export_header`."""
        return {"format": FORMAT, **asdict(self)}


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
        return ExportHeader(
            runtime=content["runtime"],
            precision=content["precision"],
            description=EncoderDescription(**content["description"]),
            geometry=EncoderGeometry(image_size=size, pixel_mean=mean, pixel_std=std, **geometry),
            tensors=content["tensors"],
            files=dict(content["files"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EncoderError(
            f"{folder / HEADER_FILE} cannot be read ({error}): export the encoder again"
        ) from error


class ExportedEncoder:
    """Encodes images by a graph, which cannot be trained; behind the image encoder's port."""

    def __init__(
        self,
        graph: Graph,
        *,
        geometry: EncoderGeometry,
        description: EncoderDescription,
        weights_digest: str,
    ) -> None:
        """Keep the compiled graph and what it is."""
        self._weights_digest = weights_digest
        self._graph = graph
        self._geometry = geometry
        self._description = description

    @property
    def geometry(self) -> EncoderGeometry:
        """Sizes and pixel statistics, fixed for the encoder's life."""
        return self._geometry

    @property
    def description(self) -> EncoderDescription:
        """Name and origin of the weights."""
        return self._description

    @property
    def weights_digest(self) -> str:
        """Digest of the exported image tower, whose vectors are comparable."""
        return self._weights_digest

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        """Encode images, without gradient; see the port."""
        check_images(images, geometry=self._geometry)
        check_cameras(images, camids, geometry=self._geometry, description=self._description)
        embedding, penultimate = self._graph.run(
            images.detach().numpy(), self._camera_input(camids, count=len(images))
        )
        widths = [self._geometry.final_width, self._geometry.projected_width]
        final, projected = torch.split(torch.from_numpy(embedding), widths, dim=1)
        return ImageFeatures(torch.from_numpy(penultimate), final, projected)

    def _camera_input(self, camids: Tensor | None, *, count: int) -> NDArray[np.int64] | None:
        if self._geometry.num_cameras == 0:
            return None
        if camids is None:
            return np.full(count, NO_CAMERA, dtype=np.int64)
        return camids.numpy()


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
        EncoderError: A file is missing or damaged.
    """
    _check_files(header, folder)
    origin = header.description
    return ExportedEncoder(
        _open_graph(header, folder),
        geometry=header.geometry,
        weights_digest=header.tensors,
        description=replace(
            origin,
            weights=f"{origin.weights}, exported for {header.runtime} in {header.precision}",
        ),
    )


def file_digest(path: Path) -> str:
    """Compute a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def explained_absence(runtime: str) -> Iterator[None]:
    """Turn the failed import of an optional package into an error with advice.

    Raises:
        ConfigurationError: The import inside failed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(
            f"{error.name} is not installed: pip install 'clip-reid[{runtime}]'"
        ) from error


def _check_files(header: ExportHeader, folder: Path) -> None:
    for name, digest in header.files.items():
        path = folder / name
        if Path(name).name != name:
            raise EncoderError(f"{folder / HEADER_FILE} names a file outside its folder: {name}")
        if not path.is_file() or file_digest(path) != digest:
            raise EncoderError(
                f"{path} is missing or not the file that was exported: copy the whole folder "
                "again, or export the encoder again"
            )


def _refuse_contradictions(request: EncoderRequest, header: ExportHeader) -> None:
    """Refuse a request for what the export has fixed."""
    if request.options:
        raise ConfigurationError("encoder.options: an exported encoder takes none")
    geometry, trained = header.geometry, header.description
    for what, asked, fixed in (
        ("kind", request.kind, trained.name),
        ("image size", request.image_size, geometry.image_size),
        ("stride", request.stride, trained.options.get("stride")),
        ("number of cameras", request.num_cameras or None, geometry.num_cameras),
        # fp32 is the default of a request, so it does not contradict an export in bf16.
        ("precision", None if request.precision == "fp32" else request.precision, header.precision),
        # Likewise activation and pooling, which older weights do not name.
        (
            "activation",
            request.activation if request.activation is Activation.GELU else None,
            trained.options.get("activation", Activation.QUICK_GELU),
        ),
        (
            "pooling",
            request.pooling if request.pooling is Pooling.GEM else None,
            trained.options.get("pooling", Pooling.AVERAGE),
        ),
    ):
        if asked not in (None, fixed):
            raise EncoderError(
                f"{request.weights} was exported with the {what} {fixed}, not {asked}: leave that "
                "out, or export the encoder again"
            )


def _open_graph(header: ExportHeader, folder: Path) -> Graph:
    with explained_absence(header.runtime):
        match header.runtime:
            case "openvino":
                from reid.adapters.encoders.openvino_graphs import OpenVinoGraph

                return OpenVinoGraph(folder, precision=header.precision)
            case "onnx":
                from reid.adapters.encoders.onnx_graphs import OnnxGraph

                return OnnxGraph(folder)
    raise EncoderError(
        f"{folder} was exported for {header.runtime!r}, which this version does not know"
    )
