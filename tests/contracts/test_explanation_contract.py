"""What every encoder that shows its work promises."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.clip import create_clip_encoder
from reid.domain.errors import EncoderError
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.explanations import AttentionTrace, ImageTrace
from reid.domain.values.samples import ImageSize
from reid.ports.image_encoder import ExplainableEncoder, TrainableEncoder
from tests.fakes.explanation import FakeExplainableEncoder
from tests.open_clip_models import created

SMALL = ImageSize(48, 32)
VIT = EncoderRequest(kind="vit-tiny", image_size=SMALL)
CAMERAS = EncoderRequest(kind="vit-tiny", image_size=SMALL, stride=12, num_cameras=3)
RN = EncoderRequest(kind="rn-tiny", image_size=SMALL)

ENCODERS: dict[str, Callable[[], ExplainableEncoder]] = {
    "vit-tiny": lambda: create_clip_encoder(VIT),
    "vit-tiny-cameras-overlapping": lambda: create_clip_encoder(CAMERAS),
    "rn-tiny": lambda: create_clip_encoder(RN),
    "open-clip-vit-overlapping": lambda: created("tiny-vit", stride=12),
    "open-clip-resnet": lambda: created("tiny-resnet"),
    "open-clip-convnext": lambda: created("tiny-convnext"),
    "fake": FakeExplainableEncoder,
    "fake-cameras": lambda: FakeExplainableEncoder(num_cameras=3),
}
TRAINABLE: dict[str, Callable[[], TrainableEncoder]] = {
    "vit-tiny": lambda: create_clip_encoder(VIT),
    "rn-tiny": lambda: create_clip_encoder(RN),
}


@pytest.fixture(params=list(ENCODERS.values()), ids=list(ENCODERS))
def encoder(request: pytest.FixtureRequest) -> ExplainableEncoder:
    factory: Callable[[], ExplainableEncoder] = request.param
    return factory()


def images_for(encoder: ExplainableEncoder, count: int = 2) -> Tensor:
    size = encoder.geometry.image_size
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size.height, size.width, generator=generator)


def evidence_of(trace: ImageTrace) -> list[Tensor]:
    return list(trace.attention) if isinstance(trace, AttentionTrace) else [trace.maps]


@pytest.mark.parametrize("camids", [None, torch.tensor([2, 0])], ids=["plain", "cameras"])
def test_traced_features_are_those_of_the_encoder(
    encoder: ExplainableEncoder, camids: Tensor | None
) -> None:
    images = images_for(encoder)
    traced = encoder.trace_images(images, camids).features
    plain = encoder.encode_images(images, camids)
    for name in ("penultimate", "final", "projected"):
        torch.testing.assert_close(
            getattr(traced, name), getattr(plain, name), atol=1e-5, rtol=1e-4
        )


def test_a_trace_without_gradients_around_it_is_differentiable_all_the_same(
    encoder: ExplainableEncoder,
) -> None:
    with torch.no_grad():
        trace = encoder.trace_images(images_for(encoder))
    score = trace.features.embedding().square().sum()
    for part, gradient in zip(
        evidence_of(trace), torch.autograd.grad(score, evidence_of(trace)), strict=True
    ):
        assert gradient.shape == part.shape
        assert gradient.isfinite().all()
        assert gradient.any()


def test_the_evidence_lies_on_the_cells(encoder: ExplainableEncoder) -> None:
    trace = encoder.trace_images(images_for(encoder))
    cells, size = trace.cells, encoder.geometry.image_size
    for part in evidence_of(trace):
        if isinstance(trace, AttentionTrace):
            num_tokens = 1 + cells.rows * cells.columns
            assert part.shape[2:] == (num_tokens, num_tokens)
            torch.testing.assert_close(part.sum(dim=3), torch.ones(part.shape[:3]))
        else:
            assert part.shape[2:] == (cells.rows, cells.columns)
    for count, length in ((cells.rows, size.height), (cells.columns, size.width)):
        assert 0 <= length - (count - 1) * cells.stride - cells.extent < cells.stride


def test_tracing_leaves_the_encoder_as_it_was(encoder: ExplainableEncoder) -> None:
    images = images_for(encoder)
    before = encoder.encode_images(images).embedding()
    trace = encoder.trace_images(images)
    torch.autograd.grad(trace.features.embedding().sum(), evidence_of(trace))
    assert torch.equal(encoder.encode_images(images).embedding(), before)


@pytest.mark.parametrize("factory", list(TRAINABLE.values()), ids=list(TRAINABLE))
def test_frozen_weights_can_be_explained_and_get_no_gradient(
    factory: Callable[[], TrainableEncoder],
) -> None:
    encoder = factory()
    parameters = [value for _, value in encoder.named_parameters()]
    for parameter in parameters:
        parameter.requires_grad = False
    assert isinstance(encoder, ExplainableEncoder)
    trace = encoder.trace_images(images_for(encoder))
    assert torch.autograd.grad(trace.features.embedding().sum(), evidence_of(trace))[0].any()
    assert all(parameter.grad is None for parameter in parameters)


@pytest.mark.parametrize("name", ["vit-tiny-cameras-overlapping", "fake-cameras"])
def test_an_unknown_camera_is_refused(name: str) -> None:
    encoder = ENCODERS[name]()
    with pytest.raises(EncoderError):
        encoder.trace_images(images_for(encoder), torch.tensor([0, 3]))
