"""What every encoder promises, whatever is behind the port."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.timm_encoder import create_timm_encoder
from reid.domain.errors import EncoderError
from reid.domain.values.encoders import EncoderRequest, Pooling
from reid.domain.values.features import ImageFeatures
from reid.domain.values.samples import ImageSize
from reid.ports.image_encoder import ImageEncoder, TrainableEncoder
from tests import open_clip_models
from tests.exports import opened
from tests.fakes.encoder import FakeEncoder
from tests.graphs import open_drawn
from tests.text import text_of

TEMPLATE = "A photo of a {} person."
SMALL = ImageSize(48, 32)

Factory = Callable[[], TrainableEncoder]

ENCODERS: dict[str, Factory] = {
    "vit-tiny": lambda: create_clip_encoder(EncoderRequest(kind="vit-tiny", image_size=SMALL)),
    "vit-tiny-cameras-overlapping": lambda: create_clip_encoder(
        EncoderRequest(kind="vit-tiny", image_size=SMALL, stride=12, num_cameras=3)
    ),
    "rn-tiny": lambda: create_clip_encoder(EncoderRequest(kind="rn-tiny", image_size=SMALL)),
    "rn-tiny-gem": lambda: create_clip_encoder(
        EncoderRequest(kind="rn-tiny", image_size=SMALL, pooling=Pooling.GEM)
    ),
    "fake": FakeEncoder,
    "fake-cameras": lambda: FakeEncoder(num_cameras=3),
    "open-clip-vit-overlapping": lambda: open_clip_models.created("tiny-vit", stride=12),
    **{
        f"open-clip-{name.removeprefix('tiny-')}": partial(open_clip_models.created, name)
        for name in open_clip_models.WITH_TEXT
    },
}
WITHOUT_TEXT: dict[str, Factory] = {
    "timm-efficientnet": lambda: create_timm_encoder(
        EncoderRequest(kind="timm:test_efficientnet", image_size=SMALL, options={"width": 24})
    ),
    "timm-resnet": lambda: create_timm_encoder(
        EncoderRequest(kind="timm:test_resnet", image_size=SMALL)
    ),
    "timm-vit": lambda: create_timm_encoder(EncoderRequest(kind="timm:test_vit", image_size=SMALL)),
}
TRAINABLE = {**ENCODERS, **WITHOUT_TEXT}
FORWARD_ONLY: dict[str, Callable[[], ImageEncoder]] = {
    "openvino-rn-tiny": lambda: opened("rn-tiny"),
    "openvino-vit-tiny-cameras": lambda: opened("vit-tiny"),
    "onnx-rn-tiny": lambda: opened("rn-tiny", runtime="onnx"),
    "onnx-vit-tiny-cameras": lambda: opened("vit-tiny", runtime="onnx"),
    "graph-of-another-program": open_drawn,
}
IMAGE_ENCODERS: dict[str, Callable[[], ImageEncoder]] = {**TRAINABLE, **FORWARD_ONLY}
WITH_CAMERAS = (
    "vit-tiny-cameras-overlapping",
    "fake-cameras",
    "openvino-vit-tiny-cameras",
    "onnx-vit-tiny-cameras",
)


@pytest.fixture(params=list(ENCODERS.values()), ids=list(ENCODERS))
def factory(request: pytest.FixtureRequest) -> Factory:
    chosen: Factory = request.param
    return chosen


@pytest.fixture
def encoder(factory: Factory) -> TrainableEncoder:
    return factory()


@pytest.fixture(params=list(TRAINABLE.values()), ids=list(TRAINABLE))
def tower(request: pytest.FixtureRequest) -> TrainableEncoder:
    """A trainable encoder, with or without a text tower."""
    chosen: Factory = request.param
    return chosen()


@pytest.fixture(params=list(IMAGE_ENCODERS.values()), ids=list(IMAGE_ENCODERS))
def image_factory(request: pytest.FixtureRequest) -> Callable[[], ImageEncoder]:
    chosen: Callable[[], ImageEncoder] = request.param
    return chosen


@pytest.fixture
def image_encoder(image_factory: Callable[[], ImageEncoder]) -> ImageEncoder:
    return image_factory()


@pytest.fixture(params=WITH_CAMERAS)
def camera_encoder(request: pytest.FixtureRequest) -> ImageEncoder:
    return IMAGE_ENCODERS[request.param]()


def images_for(encoder: ImageEncoder, count: int = 4) -> Tensor:
    size = encoder.geometry.image_size
    generator = torch.Generator().manual_seed(5)
    return torch.randn(count, 3, size.height, size.width, generator=generator)


def prompts_for(encoder: TrainableEncoder, count: int = 3) -> Tensor:
    fixed = text_of(encoder).embed_template(TEMPLATE, num_context_tokens=4)
    generator = torch.Generator().manual_seed(6)
    context = 0.02 * torch.randn(count, 4, text_of(encoder).token_width, generator=generator)
    prefix = fixed.prefix.expand(count, -1, -1)
    return torch.cat([prefix, context, fixed.suffix.expand(count, -1, -1)], dim=1)


def described(
    encoder: TrainableEncoder, prompts: Tensor, *, prefix: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    prompts = prompts.clone().requires_grad_()
    features = text_of(encoder).encode_prompts(prompts, prefix=prefix)
    (gradient,) = torch.autograd.grad(features.square().sum(), prompts)
    return features.detach(), gradient


def assert_near(got: Tensor, expected: Tensor) -> None:
    """Rounding apart, relative to the largest entry."""
    assert (got - expected).abs().max() <= 1e-5 * expected.abs().max()


def levels(features: ImageFeatures) -> tuple[Tensor, Tensor, Tensor]:
    return features.penultimate, features.final, features.projected


def test_features_have_the_widths_of_the_geometry(image_encoder: ImageEncoder) -> None:
    features = image_encoder.encode_images(images_for(image_encoder))
    geometry = image_encoder.geometry
    assert [tuple(level.shape) for level in levels(features)] == [
        (4, geometry.penultimate_width),
        (4, geometry.final_width),
        (4, geometry.projected_width),
    ]
    assert features.embedding().shape == (4, geometry.embedding_width)


def test_features_are_finite_float32_and_tell_images_apart(image_encoder: ImageEncoder) -> None:
    for level in image_encoder.encode_images(images_for(image_encoder)).levels():
        assert level.dtype == torch.float32
        assert level.isfinite().all()
        assert level.std(dim=0).mean() > 1e-3


def test_features_do_not_depend_on_the_rest_of_the_batch(image_encoder: ImageEncoder) -> None:
    images = images_for(image_encoder)
    with torch.no_grad():
        together = image_encoder.encode_images(images).embedding()
        alone = torch.cat(
            [image_encoder.encode_images(image[None]).embedding() for image in images]
        )
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_the_same_images_give_the_same_features(image_encoder: ImageEncoder) -> None:
    images = images_for(image_encoder)
    first = image_encoder.encode_images(images).embedding()
    image_encoder.encode_images(images_for(image_encoder, 3))
    assert torch.equal(first, image_encoder.encode_images(images).embedding())


def test_inputs_are_left_as_they_are(image_encoder: ImageEncoder) -> None:
    images, camids = images_for(image_encoder), torch.tensor([0, 1, 2, 0])
    given = images.clone(), camids.clone()
    image_encoder.encode_images(images, camids)
    assert torch.equal(images, given[0])
    assert torch.equal(camids, given[1])


def test_evaluation_leaves_the_state_alone(tower: TrainableEncoder) -> None:
    images = images_for(tower)
    before = {name: value.clone() for name, value in tower.state().items()}
    tower.encode_images(images)
    for name, value in tower.state().items():
        assert torch.equal(before[name], value)


def test_training_mode_can_be_left_again(tower: TrainableEncoder) -> None:
    images = images_for(tower)
    state = {name: value.clone() for name, value in tower.state().items()}
    expected = tower.encode_images(images).embedding()
    tower.set_training(enabled=True)
    tower.encode_images(images)
    tower.set_training(enabled=False)
    tower.load_state(state)
    assert torch.equal(tower.encode_images(images).embedding(), expected)


def test_two_encoders_of_one_factory_agree(image_factory: Callable[[], ImageEncoder]) -> None:
    first, second = image_factory(), image_factory()
    images = images_for(first)
    assert torch.equal(
        first.encode_images(images).embedding(), second.encode_images(images).embedding()
    )
    assert first.description == second.description


def test_building_leaves_the_global_random_state_alone(
    image_factory: Callable[[], ImageEncoder],
) -> None:
    before = torch.random.get_rng_state()
    image_factory()
    assert torch.equal(before, torch.random.get_rng_state())


def test_prompts_give_vectors_of_the_shared_width(encoder: TrainableEncoder) -> None:
    features = text_of(encoder).encode_prompts(prompts_for(encoder))
    assert features.shape == (3, encoder.geometry.projected_width)
    assert features.dtype == torch.float32
    assert features.isfinite().all()


def test_a_common_prefix_can_be_given_apart(encoder: TrainableEncoder) -> None:
    whole, whole_gradient = described(encoder, prompts_for(encoder))
    prefix, remainders = prompts_for(encoder)[0, :5], prompts_for(encoder)[:, 5:]
    parts, gradient = described(encoder, remainders, prefix=prefix)
    assert_near(parts, whole)
    assert_near(gradient, whole_gradient[:, 5:])


def test_the_text_tower_can_learn_through_a_common_prefix(encoder: TrainableEncoder) -> None:
    prompts = prompts_for(encoder)
    _, parameters = zip(*text_of(encoder).named_parameters(), strict=True)
    wanted, got = (
        torch.autograd.grad(features.square().sum(), parameters, allow_unused=True)
        for features in (
            text_of(encoder).encode_prompts(prompts),
            text_of(encoder).encode_prompts(prompts[:, 5:], prefix=prompts[0, :5]),
        )
    )
    for expected, gradient in zip(wanted, got, strict=True):
        assert (gradient is None) == (expected is None)
        if gradient is not None:
            assert_near(gradient, expected)


def test_a_prefix_counts_towards_the_length_of_a_prompt(encoder: TrainableEncoder) -> None:
    prompts = prompts_for(encoder)
    prefix = prompts[0, :1].expand(text_of(encoder).context_length, -1)
    with pytest.raises(EncoderError):
        text_of(encoder).encode_prompts(prompts, prefix=prefix)


def test_a_template_is_looked_up_without_gradient(encoder: TrainableEncoder) -> None:
    fixed = text_of(encoder).embed_template(TEMPLATE, num_context_tokens=4)
    assert fixed.prefix.shape == (5, text_of(encoder).token_width)
    assert fixed.suffix.shape[1] == text_of(encoder).token_width
    assert not fixed.prefix.requires_grad
    assert not fixed.suffix.requires_grad


def test_a_prompt_longer_than_the_context_is_refused(encoder: TrainableEncoder) -> None:
    with pytest.raises(EncoderError):
        text_of(encoder).embed_template(
            TEMPLATE, num_context_tokens=text_of(encoder).context_length
        )


def test_a_gradient_reaches_prompts_but_no_frozen_weight(encoder: TrainableEncoder) -> None:
    for _, parameter in text_of(encoder).named_parameters():
        parameter.requires_grad = False
    prompts = prompts_for(encoder).requires_grad_()
    torch.autograd.backward(text_of(encoder).encode_prompts(prompts).square().sum())
    assert prompts.grad is not None
    assert (prompts.grad.abs().sum(dim=(1, 2)) > 0).all()
    assert all(parameter.grad is None for _, parameter in text_of(encoder).named_parameters())


def test_a_gradient_reaches_every_parameter_of_the_image_tower(tower: TrainableEncoder) -> None:
    parameters = dict(tower.named_parameters())
    assert all(parameter.requires_grad for parameter in parameters.values())
    camids = torch.tensor([0, 1, 2, 0])
    tower.set_training(enabled=True)
    features = tower.encode_images(images_for(tower), camids)
    torch.autograd.backward([level.square().sum() for level in features.levels()])
    without = [name for name, parameter in parameters.items() if parameter.grad is None]
    assert without == []
    if tower.text is not None:
        assert all(parameter.grad is None for _, parameter in tower.text.named_parameters())


def test_parameters_bear_the_names_of_the_state(tower: TrainableEncoder) -> None:
    state = tower.state()
    names = [name for name, _ in tower.named_parameters()]
    assert names
    assert set(names) <= set(state)
    assert names == [name for name, _ in tower.named_parameters()]
    assert not any(value.requires_grad for value in state.values())


def test_a_state_makes_the_round_trip(tower: TrainableEncoder) -> None:
    images = images_for(tower)
    saved = {name: value.clone() for name, value in tower.state().items()}
    expected = tower.encode_images(images).embedding()
    with torch.no_grad():
        for _, parameter in tower.named_parameters():
            parameter.add_(0.1)
    assert not torch.equal(tower.encode_images(images).embedding(), expected)
    tower.load_state(saved)
    assert torch.equal(tower.encode_images(images).embedding(), expected)


def test_the_text_tower_walks_its_parameters_in_a_stable_order(encoder: TrainableEncoder) -> None:
    names = [name for name, _ in text_of(encoder).named_parameters()]
    assert names
    assert names == [name for name, _ in text_of(encoder).named_parameters()]
    assert not set(names) & set(encoder.state())


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_a_state_that_does_not_fit_is_refused_as_a_whole(
    tower: TrainableEncoder, fault: str
) -> None:
    before = {name: value.clone() for name, value in tower.state().items()}
    state = {name: value + 1 for name, value in before.items()}
    name = list(state)[-1]
    match fault:
        case "missing":
            del state[name]
        case "unknown":
            state["unknown person"] = torch.zeros(1)
        case _:
            state[name] = torch.zeros(*state[name].shape, 2)
    with pytest.raises(EncoderError):
        tower.load_state(state)
    for name, value in tower.state().items():
        assert torch.equal(before[name], value)


def test_cameras_are_left_out_where_none_are_given_or_known(image_encoder: ImageEncoder) -> None:
    images = images_for(image_encoder)
    plain = image_encoder.encode_images(images).embedding()
    seen = image_encoder.encode_images(images, torch.tensor([0, 1, 2, 0])).embedding()
    assert torch.equal(plain, seen) == (image_encoder.geometry.num_cameras == 0)


@pytest.mark.parametrize("camid", [-1, 3])
def test_an_unknown_camera_is_refused(camera_encoder: ImageEncoder, camid: int) -> None:
    with pytest.raises(EncoderError):
        camera_encoder.encode_images(images_for(camera_encoder, 2), torch.tensor([0, camid]))


def test_the_same_image_differs_between_cameras(camera_encoder: ImageEncoder) -> None:
    images = images_for(camera_encoder, 1).expand(2, -1, -1, -1)
    first, second = camera_encoder.encode_images(images, torch.tensor([0, 2])).embedding()
    assert not torch.allclose(first, second)
