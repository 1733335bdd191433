"""What is peculiar to encoders in graphs that another program wrote."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from reid.adapters.encoders.graph_contracts import contract_of, over_preset
from reid.adapters.encoders.graphs import GraphEncoder, is_graph, open_graph_encoder
from reid.container.encoders import create_image_encoder, require_trainable
from reid.container.galleries import encoder_fingerprint
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.training.augmentation import normalise
from reid.domain.values.encoders import EncoderRequest, Pooling
from reid.domain.values.graphs import GraphRequest
from reid.domain.values.samples import ImageSize, Resampling
from tests.graphs import HEIGHT, RAW_BGR, WIDTH, draw_ir, draw_onnx

MODELS_ROOT = os.environ.get("REID_MODELS_ROOT")


def opened(path: Path, *, graph: GraphRequest = RAW_BGR, **request: Any) -> GraphEncoder:
    return open_graph_encoder(EncoderRequest(kind=None, weights=str(path), graph=graph, **request))


def drawn_bytes(count: int = 5, *, size: ImageSize | None = None) -> Tensor:
    size = size or ImageSize(HEIGHT, WIDTH)
    generator = torch.Generator().manual_seed(3)
    shape = (count, 3, size.height, size.width)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def described(encoder: GraphEncoder, pixels: Tensor) -> NDArray[np.float32]:
    geometry = encoder.geometry
    images = normalise(pixels, mean=geometry.pixel_mean, std=geometry.pixel_std)
    found: NDArray[np.float32] = encoder.encode_images(images).embedding().numpy()
    return found


def mean_colour(pixels: Tensor) -> NDArray[np.float64]:
    """The mean of red, green and blue in 0..255: (B, 3)."""
    means: NDArray[np.float64] = pixels.double().mean(dim=(2, 3)).numpy()
    return means


@pytest.fixture(params=["openvino", "onnx", "onnx by openvino"])
def graph(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, GraphRequest]:
    """One graph in both formats, and the runtimes that execute it."""
    if request.param == "openvino":
        return draw_ir(tmp_path / "drawn.xml"), RAW_BGR
    path = draw_onnx(tmp_path / "drawn.onnx")
    runtime = "onnx" if request.param == "onnx" else "openvino"
    pytest.importorskip({"onnx": "onnxruntime"}.get(runtime, runtime))
    return path, replace(RAW_BGR, runtime=runtime)


def test_blue_comes_first_in_0_to_255(graph: tuple[Path, GraphRequest]) -> None:
    encoder = opened(graph[0], graph=graph[1])
    pixels = drawn_bytes()
    np.testing.assert_allclose(described(encoder, pixels), mean_colour(pixels)[:, ::-1], rtol=1e-5)


def test_red_comes_first_normalised_in_0_to_1(graph: tuple[Path, GraphRequest]) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    given = replace(graph[1], channels="rgb", range=1.0, mean=mean, std=std)
    pixels = drawn_bytes()
    np.testing.assert_allclose(
        described(opened(graph[0], graph=given), pixels),
        (mean_colour(pixels) / 255 - mean) / std,
        rtol=1e-4,
        atol=1e-5,
    )


def test_statistics_are_in_the_order_of_the_channels(graph: tuple[Path, GraphRequest]) -> None:
    mean, std = (104.0, 117.0, 123.0), (1.0, 2.0, 4.0)
    given = replace(graph[1], mean=mean, std=std)
    pixels = drawn_bytes()
    wanted = (mean_colour(pixels)[:, ::-1] - mean) / std
    got = described(opened(graph[0], graph=given), pixels)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize(
    "how",
    [
        {"batch": 1},
        {"batch": 2},
        {"batch": -1},
        {"batch": 1, "mixes": True},
        {"is_channels_last": True},
        {"input_type": np.uint8},
        {"size": (-1, -1)},
    ],
    ids=str,
)
def test_batches_of_any_size_suit_any_graph(
    tmp_path: Path, how: dict[str, Any], count: int
) -> None:
    size = ImageSize(HEIGHT, WIDTH) if "size" in how else None
    encoder = opened(draw_ir(tmp_path / "drawn.xml", **how), image_size=size)
    pixels = drawn_bytes(count)
    np.testing.assert_allclose(described(encoder, pixels), mean_colour(pixels)[:, ::-1], rtol=1e-5)


@pytest.mark.parametrize("batch", [None, 1, 2, 8])
def test_a_given_number_of_images_is_run_at_a_time(tmp_path: Path, batch: int | None) -> None:
    encoder = opened(draw_ir(tmp_path / "drawn.xml"), graph=replace(RAW_BGR, batch=batch))
    pixels = drawn_bytes()
    np.testing.assert_allclose(described(encoder, pixels), mean_colour(pixels)[:, ::-1], rtol=1e-5)


def test_onnx_runtime_runs_the_number_that_a_file_fixes(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs clip-reid[onnx]")
    pixels = drawn_bytes()
    for batch in (1, 2, "n"):
        path = draw_onnx(tmp_path / f"{batch}.onnx", batch=batch)
        encoder = opened(path, graph=replace(RAW_BGR, runtime="onnx"))
        np.testing.assert_allclose(
            described(encoder, pixels), mean_colour(pixels)[:, ::-1], rtol=1e-5
        )
    with pytest.raises(EncoderError, match="takes 1 images in each run, not 4"):
        opened(tmp_path / "1.onnx", graph=replace(RAW_BGR, runtime="onnx", batch=4))


def test_the_geometry_and_description_say_the_contract(tmp_path: Path) -> None:
    given = replace(RAW_BGR, resampling=Resampling.BICUBIC)
    encoder = opened(draw_ir(tmp_path / "drawn.xml"), graph=given)
    assert encoder.geometry.image_size == ImageSize(HEIGHT, WIDTH)
    assert encoder.geometry.resampling is Resampling.BICUBIC
    assert encoder.geometry.embedding_width == encoder.geometry.final_width == 3
    assert encoder.device == torch.device("cpu")
    description = encoder.description
    assert (description.name, description.weights) == ("drawn", "drawn.xml")
    assert description.is_trained
    assert description.options == {
        "image_size": [8, 4], "output": "descriptor", "channels": "bgr", "range": 255.0,
        "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "resampling": "bicubic",
    }  # fmt: skip


def test_an_unknown_graph_asks_for_all_that_is_not_given(tmp_path: Path) -> None:
    path = draw_ir(tmp_path / "drawn.xml")
    with pytest.raises(ConfigurationError) as error:
        opened(path, graph=GraphRequest(channels="rgb", std=(1, 1, 1)))
    assert str(error.value) == (
        "drawn.xml does not say how it takes its images: set encoder.graph.range (255 or 1, the "
        "value of the brightest pixel), encoder.graph.mean (three numbers, subtracted in that "
        "range; [0, 0, 0] for none)"
    )


@pytest.mark.parametrize("name", ["osnet_x1_0_market.onnx", "osnet_ain_x0_25.xml"])
def test_graphs_of_torchreid_take_its_statistics(name: str) -> None:
    contract = contract_of(over_preset(GraphRequest(), name=name), name=name)
    assert (contract.channels, contract.range) == ("rgb", 1)
    assert contract.mean == (0.485, 0.456, 0.406)
    assert contract.std == (0.229, 0.224, 0.225)


@pytest.mark.parametrize("name", ["person-reidentification-retail-0288", "my-0300"])
def test_open_model_zoo_s_encoders_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    path = draw_ir(tmp_path / f"{name}.xml")
    if name.startswith("my"):
        with pytest.raises(ConfigurationError, match=r"set encoder\.graph\.channels"):
            opened(path, graph=GraphRequest())
        return
    pixels = drawn_bytes()
    found = described(opened(path, graph=GraphRequest()), pixels)
    np.testing.assert_allclose(found, mean_colour(pixels)[:, ::-1], rtol=1e-5)
    other = described(opened(path, graph=GraphRequest(channels="rgb")), pixels)
    np.testing.assert_allclose(other, mean_colour(pixels), rtol=1e-5)


def test_an_output_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = draw_ir(tmp_path / "drawn.xml", outputs=("once", "twice"))
    with pytest.raises(ConfigurationError, match=r"output: an output is to be .* once \(1, 3\), t"):
        opened(path)
    with pytest.raises(ConfigurationError, match="no output 'thrice'"):
        opened(path, graph=replace(RAW_BGR, output="thrice"))
    pixels = drawn_bytes()
    once, twice = (
        described(opened(path, graph=replace(RAW_BGR, output=name)), pixels)
        for name in ("once", "twice")
    )
    np.testing.assert_allclose(twice, 2 * once)


def test_the_fingerprint_tells_weights_and_contracts_apart(tmp_path: Path) -> None:
    first, second = (draw_ir(tmp_path / f"{number}.xml", scale=number) for number in (1.0, 2.0))
    (tmp_path / "renamed.xml").write_bytes(first.read_bytes())
    (tmp_path / "renamed.bin").write_bytes(first.with_suffix(".bin").read_bytes())
    known = encoder_fingerprint(opened(first))
    assert known.agrees_with(encoder_fingerprint(opened(tmp_path / "renamed.xml")))
    assert known.agrees_with(encoder_fingerprint(opened(first, graph=replace(RAW_BGR, batch=2))))
    assert not known.agrees_with(encoder_fingerprint(opened(second)))
    for change in ({"channels": "rgb"}, {"resampling": Resampling.BICUBIC}):
        other = opened(first, graph=replace(RAW_BGR, **change))
        assert not known.agrees_with(encoder_fingerprint(other))


def test_weights_beside_an_onnx_file_count_too(tmp_path: Path) -> None:
    path = draw_onnx(tmp_path / "drawn.onnx", is_external=True)
    digests = []
    for scale in (1.0, 2.0):
        np.diag(np.full(3, scale, np.float32)).tofile(tmp_path / "weights.data")
        digests.append(opened(path).weights_digest)
    assert digests[0] != digests[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "vit-b16"}, r"encoder\.kind: drawn\.xml is a graph"),
        ({"stride": 12}, r"encoder\.stride"),
        ({"num_cameras": 2}, r"encoder\.camera_embedding"),
        ({"pooling": Pooling.GEM}, r"encoder\.pooling"),
        ({"options": {"depth": 3}}, r"encoder\.options"),
        ({"image_size": ImageSize(16, 8)}, "takes images of 8x4, not 16x8"),
        ({"graph": replace(RAW_BGR, runtime="onnx")}, r"onnx does not execute drawn\.xml"),
    ],
)
def test_what_a_graph_fixes_cannot_be_asked_for(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = draw_ir(tmp_path / "drawn.xml")
    request = EncoderRequest(kind=None, weights=str(path), graph=RAW_BGR)
    with pytest.raises((ConfigurationError, EncoderError), match=words):
        open_graph_encoder(replace(request, **change))


def test_images_of_any_size_need_one(tmp_path: Path) -> None:
    path = draw_ir(tmp_path / "drawn.xml", size=(-1, -1))
    with pytest.raises(ConfigurationError, match=r"encoder\.image_size: drawn\.xml takes images"):
        opened(path)


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"none\.xml does not exist"):
        opened(tmp_path / "none.xml")
    path = draw_ir(tmp_path / "drawn.xml")
    path.write_text("<net>")
    with pytest.raises(EncoderError, match=r"drawn\.xml cannot be read by OpenVINO"):
        opened(path)
    (tmp_path / "drawn.onnx").write_bytes(b"ONNX")
    with pytest.raises(EncoderError, match=r"drawn\.onnx cannot be read by"):
        opened(tmp_path / "drawn.onnx")


def test_descriptors_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    encoder = opened(draw_ir(tmp_path / "drawn.xml", scale=float("inf")))
    with pytest.raises(EncoderError, match=r"drawn\.xml computes descriptors that are not finite"):
        described(encoder, drawn_bytes())


def test_a_graph_is_recognised_by_its_name_and_does_not_train(tmp_path: Path) -> None:
    assert [is_graph(Path(name)) for name in ("a.XML", "a.onnx", "a.pth", "a")] == [
        True, True, False, False,
    ]  # fmt: skip
    path = draw_ir(tmp_path / "drawn.xml")
    encoder = create_image_encoder(EncoderRequest(kind=None, weights=str(path), graph=RAW_BGR))
    with pytest.raises(EncoderError, match="describes images only"):
        require_trainable(encoder)


@pytest.mark.skipif(MODELS_ROOT is None, reason="REID_MODELS_ROOT names no folder of real models")
@pytest.mark.parametrize(
    "name",
    ["person-reidentification-retail-0277.xml", "person-reidentification-retail-0267.onnx"],
)
def test_open_model_zoo_s_own_files_describe_images(name: str) -> None:
    pytest.importorskip("openvino", reason="needs clip-reid[openvino]")
    encoder = opened(Path(str(MODELS_ROOT)) / name, graph=GraphRequest())
    assert encoder.geometry.image_size == ImageSize(256, 128)
    assert encoder.geometry.embedding_width == 256
    pixels = drawn_bytes(3, size=ImageSize(256, 128))
    together = described(encoder, pixels)
    alone = np.concatenate([described(encoder, image[None]) for image in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-3 * np.abs(alone).max())
    assert np.abs(np.diff(together, axis=0)).max() > 1e-2
