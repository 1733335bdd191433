"""What is peculiar to CLIP's encoders, and that they are open_clip's."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from torch.nn import functional as F

from reid.adapters.encoders.blocks import Block, Projections, attend
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.image_tower import Grid, resize_positions
from reid.adapters.encoders.resnet import ModifiedResNet, pool_generalised
from reid.adapters.encoders.text_encoder import template_tokens
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.safetensors_file import write_checkpoint
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import Checkpoint, JsonValue, digest_of
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.samples import ImageSize
from reid.ports.image_encoder import TrainableEncoder
from tests.text import text_of

SMALL = ImageSize(48, 32)
VIT = EncoderRequest(kind="vit-tiny", image_size=SMALL)
RN = EncoderRequest(kind="rn-tiny", image_size=SMALL)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def embed(encoder: TrainableEncoder, images: Tensor, camids: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return encoder.encode_images(images, camids).embedding()


@pytest.mark.parametrize(
    ("kind", "widths"), [("rn50", (1024, 2048, 1024)), ("vit-b16", (768, 768, 512))]
)
def test_big_encoders_take_images_of_256x128(kind: str, widths: tuple[int, int, int]) -> None:
    encoder = create_clip_encoder(EncoderRequest(kind=kind))
    with torch.no_grad():
        features = encoder.encode_images(noise(1, 3, 256, 128))
    shapes = features.penultimate.shape, features.final.shape, features.projected.shape
    assert shapes == tuple((1, width) for width in widths)
    assert features.embedding().isfinite().all()
    assert features.embedding().std() > 0.1


def test_the_description_says_that_weights_are_random() -> None:
    description = create_clip_encoder(replace(VIT, seed=7, stride=12, num_cameras=2)).description
    assert (description.name, description.weights) == ("vit-tiny", "random (seed 7)")
    assert not description.is_pretrained
    assert description.options == {
        "image_size": [48, 32],
        "stride": 12,
        "num_cameras": 2,
        "camera_scale": 1.0,
        "activation": "quick_gelu",
    }


class ByHand(nn.Module):
    """A block's perceptron, written out with torch's own GELU."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, tokens: Tensor) -> Tensor:
        widen, narrow = (getattr(self.mlp, name) for name in ("c_fc", "c_proj"))
        hidden = F.gelu(F.linear(tokens, widen.weight, widen.bias))
        return F.linear(hidden, narrow.weight, narrow.bias)


def describe(encoder: TrainableEncoder) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        prompts = text_of(encoder).encode_prompts(noise(2, 6, text_of(encoder).token_width))
    return embed(encoder, noise(2, 3, 48, 32)), prompts


@pytest.mark.parametrize("request_", [VIT, RN], ids=["vit", "rn"])
def test_towers_with_gelu_equal_those_whose_perceptrons_are_written_out(
    request_: EncoderRequest,
) -> None:
    encoder = create_clip_encoder(replace(request_, activation=Activation.GELU))
    other = create_clip_encoder(request_)
    with_quick_gelu = describe(other)
    assert other.text is not None
    for tower in (other.image_tower, other.text.tower):
        for module in tower.modules():
            if isinstance(module, Block):
                module.add_module("mlp", ByHand(module.mlp))
    images, prompts = describe(encoder)
    by_hand = describe(other)
    torch.testing.assert_close(images, by_hand[0])
    torch.testing.assert_close(prompts, by_hand[1])
    assert not torch.allclose(prompts, with_quick_gelu[1], rtol=1e-3)
    has_transformer = request_ is VIT
    assert torch.allclose(images, with_quick_gelu[0], rtol=1e-3) != has_transformer


def maps_of(visual: ModifiedResNet, images: Tensor) -> list[Tensor]:
    """What layers 3 and 4 put out."""
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _module, _given, maps: seen.append(maps))
        for layer in (visual.layer3, visual.layer4)
    ]
    with torch.no_grad():
        visual(images, None)
    for hook in hooks:
        hook.remove()
    return seen


def test_gem_is_the_cube_root_of_the_mean_cube_of_layers_3_and_4() -> None:
    images = noise(3, 3, 48, 32)
    encoder = create_clip_encoder(replace(RN, pooling=Pooling.GEM))
    assert encoder.description.options["pooling"] == "gem"
    visual = encoder.image_tower.image_encoder
    assert isinstance(visual, ModifiedResNet)
    with torch.no_grad():
        features = encoder.encode_images(images)
    pooled = (features.penultimate, features.final)
    for got, maps in zip(pooled, maps_of(visual, images), strict=True):
        expected = (maps.double() ** 3).mean(dim=(2, 3)) ** (1 / 3)
        torch.testing.assert_close(got.double(), expected, rtol=1e-4, atol=1e-5)
        assert (got >= maps.mean(dim=(2, 3)) - 1e-6).all()
        assert (got <= maps.amax(dim=(2, 3)) + 1e-5).all()
    with torch.no_grad():
        averaged = create_clip_encoder(RN).encode_images(images)
    assert torch.equal(features.projected, averaged.projected)
    assert not torch.allclose(features.final, averaged.final, rtol=0.05)


def test_gem_learns_and_leaves_dead_channels_alone() -> None:
    maps = noise(2, 4, 3, 2).relu()
    maps[:, 1] = 0
    maps.requires_grad_()
    pooled = pool_generalised(maps)
    torch.testing.assert_close(pooled[:, 1], torch.full((2,), 1e-6))
    pooled.sum().backward()  # type: ignore[no-untyped-call]
    assert maps.grad is not None
    assert maps.grad.isfinite().all()
    assert not maps.grad[:, 1].any()
    assert maps.grad[:, 0].any()


def test_a_vit_has_no_maps_to_pool() -> None:
    with pytest.raises(ConfigurationError, match=r"encoder\.pooling: vit-tiny has no maps"):
        create_clip_encoder(replace(VIT, pooling=Pooling.GEM))


@pytest.mark.parametrize("request_", [VIT, RN], ids=["vit", "rn"])
def test_another_seed_gives_other_weights(request_: EncoderRequest) -> None:
    images = noise(2, 3, 48, 32)
    first = embed(create_clip_encoder(request_), images)
    second = embed(create_clip_encoder(replace(request_, seed=1)), images)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("request_", [VIT, RN], ids=["vit", "rn"])
def test_random_weights_can_learn_to_tell_images_apart(request_: EncoderRequest) -> None:
    encoder = create_clip_encoder(request_)
    encoder.set_training(enabled=True)
    images, labels = noise(6, 3, 48, 32), torch.arange(6)
    classifier = torch.nn.Linear(encoder.geometry.final_width, 6)
    torch.nn.init.zeros_(classifier.weight)
    parameters = [value for _, value in encoder.named_parameters()]
    optimizer = torch.optim.Adam([*parameters, *classifier.parameters()], lr=1e-3)
    losses = []
    for _ in range(20):
        final = encoder.encode_images(images).final
        loss = torch.nn.functional.cross_entropy(classifier(final), labels)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("stride", [16, 12, 7])
def test_a_vit_has_a_position_for_every_patch(stride: int) -> None:
    encoder = create_clip_encoder(replace(VIT, image_size=ImageSize(70, 45), stride=stride))
    positions = encoder.state()["image_encoder.positional_embedding"]
    assert len(positions) == 1 + ((70 - 16) // stride + 1) * ((45 - 16) // stride + 1)
    assert embed(encoder, noise(1, 3, 70, 45)).isfinite().all()


def test_a_camera_scale_of_zero_leaves_cameras_out() -> None:
    encoder = create_clip_encoder(replace(VIT, num_cameras=3, camera_scale=0.0))
    images = noise(2, 3, 48, 32)
    assert torch.equal(embed(encoder, images, torch.tensor([0, 2])), embed(encoder, images))


def test_camera_embeddings_are_drawn_with_the_std_of_the_paper() -> None:
    encoder = create_clip_encoder(replace(VIT, num_cameras=200))
    cameras = encoder.state()["cv_embed"]
    assert cameras.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("request_", [VIT, RN], ids=["vit", "rn"])
def test_bfloat16_stays_near_float32_and_answers_in_float32(request_: EncoderRequest) -> None:
    images, prompts = noise(2, 3, 48, 32), 0.02 * noise(2, 12, 64)
    exact = create_clip_encoder(request_)
    rough = create_clip_encoder(replace(request_, precision="bf16"))
    for expected, got in (
        (embed(exact, images), embed(rough, images)),
        (text_of(exact).encode_prompts(prompts), text_of(rough).encode_prompts(prompts)),
    ):
        assert got.dtype == torch.float32
        assert not torch.equal(expected, got)
        assert torch.nn.functional.cosine_similarity(expected, got).min() > 0.999


def test_bfloat16_can_be_for_training_alone() -> None:
    images = noise(4, 3, 48, 32)
    exact = create_clip_encoder(VIT)
    learning = create_clip_encoder(replace(VIT, training_precision="bf16"))
    assert torch.equal(embed(exact, images), embed(learning, images))
    learning.set_training(enabled=True)
    assert not torch.equal(embed(exact, images), embed(learning, images))
    learning.set_training(enabled=False)
    assert torch.equal(embed(exact, images), embed(learning, images))


def test_training_can_stay_in_float32_where_images_are_described_in_bfloat16() -> None:
    images = noise(4, 3, 48, 32)
    exact = create_clip_encoder(VIT)
    rough = create_clip_encoder(replace(VIT, precision="bf16", training_precision="fp32"))
    assert not torch.equal(embed(exact, images), embed(rough, images))
    rough.set_training(enabled=True)
    assert torch.equal(embed(exact, images), embed(rough, images))


@pytest.mark.parametrize("request_", [VIT, RN], ids=["vit", "rn"])
def test_bfloat16_leaves_weights_and_gradients_in_float32(request_: EncoderRequest) -> None:
    images = noise(4, 3, 48, 32)
    gradients = []
    for precision in ("fp32", "bf16"):
        encoder = create_clip_encoder(replace(request_, training_precision=precision))
        encoder.set_training(enabled=True)
        features = encoder.encode_images(images).embedding()
        parameters = [value for _, value in encoder.named_parameters()]
        found = torch.autograd.grad((features * noise(*features.shape)).sum(), parameters)
        assert {value.dtype for value in (*parameters, *found)} == {torch.float32}
        gradients.append(torch.cat([value.flatten() for value in found]))
    exact, rough = gradients
    assert torch.nn.functional.cosine_similarity(exact, rough, dim=0) > 0.98


def test_a_state_passes_between_a_resnet_of_either_precision() -> None:
    exact = create_clip_encoder(RN)
    learning = create_clip_encoder(replace(RN, training_precision="bf16", seed=5))
    learning.load_state(exact.state())
    images = noise(4, 3, 48, 32)
    torch.testing.assert_close(embed(learning, images), embed(exact, images))
    assert digest_of(learning.state()) == digest_of(exact.state())


def test_compiling_keeps_names_and_waits_for_the_first_run() -> None:
    images = noise(2, 3, 48, 32)
    plain = create_clip_encoder(RN)
    compiled = create_clip_encoder(replace(RN, compile=True))
    assert list(compiled.state()) == list(plain.state())
    with torch.compiler.set_stance("force_eager"):
        assert torch.equal(embed(compiled, images), embed(plain, images))


def test_a_failing_compiler_is_a_matter_of_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCompilerError(RuntimeError):
        pass

    NoCompilerError.__module__ = "torch._inductor.exc"

    def fail(*_: object) -> None:
        raise NoCompilerError("no g++")

    encoder = create_clip_encoder(RN)
    monkeypatch.setattr(encoder.image_tower, "forward", fail)
    with pytest.raises(ConfigurationError, match=r"encoder\.compile: .*no g\+\+"):
        embed(encoder, noise(2, 3, 48, 32))


@pytest.mark.slow
def test_a_compiled_encoder_describes_and_learns_as_an_eager_one() -> None:
    images = noise(2, 3, 48, 32)
    plain = create_clip_encoder(RN)
    compiled = create_clip_encoder(replace(RN, compile=True))
    torch.testing.assert_close(embed(compiled, images), embed(plain, images))
    gradients = []
    for encoder in (plain, compiled):
        encoder.set_training(enabled=True)
        features = encoder.encode_images(images).embedding()
        parameters = [value for _, value in encoder.named_parameters()]
        found = torch.autograd.grad(features.square().sum(), parameters)
        gradients.append(torch.cat([value.flatten() for value in found]))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_attention_in_bfloat16_is_that_of_float32_rounded() -> None:
    exact = Projections(*(noise(2, 3, 5, 8, seed=seed) for seed in (1, 2, 3)))
    rounded = Projections(*(part.bfloat16() for part in exact))
    got = attend(rounded)
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), attend(exact), rtol=0.03, atol=0.03)


def test_training_mode_uses_batch_statistics_and_keeps_running_ones() -> None:
    encoder = create_clip_encoder(RN)
    name = "image_encoder.bn1.running_mean"
    before = encoder.state()[name].clone()
    embed(encoder, noise(2, 3, 48, 32))
    assert torch.equal(before, encoder.state()[name])
    encoder.set_training(enabled=True)
    embed(encoder, noise(2, 3, 48, 32))
    assert not torch.equal(before, encoder.state()[name])


def open_clip_like(request: EncoderRequest) -> CLIP:
    """Build open_clip's own model, with what it draws from the request's seed."""
    is_vit = request.kind == "vit-tiny"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(request.seed)
        return CLIP(
            32 if is_vit else 64,
            vision_cfg=CLIPVisionCfg(
                layers=12 if is_vit else (1, 1, 1, 1), width=64 if is_vit else 16, patch_size=16
            ),
            text_cfg=CLIPTextCfg(width=64, heads=1, layers=2),
            quick_gelu=True,
        ).eval()


def square(request: EncoderRequest) -> TowerEncoder:
    """Take open_clip's size, for which no position is resized."""
    return create_clip_encoder(replace(request, image_size=ImageSize(224, 224)))


def test_random_weights_of_a_vit_are_those_that_open_clip_draws() -> None:
    model, encoder = open_clip_like(VIT), square(VIT)
    image = {f"image_encoder.{name}": value for name, value in model.visual.state_dict().items()}
    state = encoder.state()
    assert state.keys() == image.keys()
    assert all(torch.equal(state[name], value) for name, value in image.items())
    drawn = model.state_dict()
    for name, value in text_of(encoder).named_parameters():
        assert torch.equal(value, drawn[name.removeprefix("text_encoder.")]), name


def test_a_vit_and_its_text_tower_equal_open_clip_s_forward_pass() -> None:
    model, encoder = open_clip_like(VIT), square(VIT)
    images = noise(2, 3, 224, 224)
    with torch.no_grad():
        projected = encoder.encode_images(images).projected
        torch.testing.assert_close(projected, model.encode_image(images))


def test_the_attention_pool_equals_open_clip_s_which_asks_from_everywhere() -> None:
    model, visual = open_clip_like(RN), square(RN).image_tower.image_encoder
    assert isinstance(visual, ModifiedResNet)
    # Positions are for the finer last map of re-identification; open_clip's own here.
    pool = visual.attnpool
    pool.positional_embedding = nn.Parameter(noise(50, 512))
    model.visual.attnpool.load_state_dict(pool.state_dict())
    maps = noise(2, 512, 7, 7)
    torch.testing.assert_close(pool(maps), model.visual.attnpool(maps))


def test_following_one_token_through_a_block_equals_following_all() -> None:
    block = Block(128, head_width=64, activation=Activation.GELU)
    tokens = noise(3, 5, 128)
    everything = block(tokens)
    for position in (0, -1):
        torch.testing.assert_close(block.follow(tokens, position), everything[:, position])
    shown, shares = block.show(tokens)
    torch.testing.assert_close(shown, everything)
    torch.testing.assert_close(shares.sum(dim=3), torch.ones(3, 2, 5))


def test_a_prompt_cut_at_its_end_token_equals_open_clip_s_padded_one() -> None:
    model, encoder = open_clip_like(VIT), square(VIT)
    prefix, suffix = template_tokens("A photo of a {} person.")
    tokens = torch.tensor([[*prefix, 343, 343, *suffix]])
    padded = F.pad(tokens, (0, 77 - tokens.shape[1]))
    embedded = model.token_embedding(tokens)
    torch.testing.assert_close(text_of(encoder).encode_prompts(embedded), model.encode_text(padded))


@pytest.mark.parametrize("kind", ["vit-tiny", "rn-tiny"])
def test_an_encoder_from_a_file_needs_neither_open_clip_nor_torch_s_compiler(
    kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "encoder.safetensors"
    encoder = create_clip_encoder(EncoderRequest(kind=kind, image_size=SMALL))
    options: dict[str, JsonValue] = {"name": kind, "options": {**encoder.description.options}}
    header: dict[str, JsonValue] = {"format": "reid-encoder", "encoder": options}
    write_checkpoint(file, Checkpoint(tensors=encoder.state(), header=header))
    script = (
        "import sys, torch\n"
        "from reid.adapters.encoders.clip import create_clip_encoder\n"
        "from reid.domain.values.encoders import EncoderRequest\n"
        f"encoder = create_clip_encoder(EncoderRequest(kind=None, weights={str(file)!r}))\n"
        "encoder.encode_images(torch.zeros(1, 3, 48, 32))\n"
        "names = ('open_clip', 'torchvision', 'torch._dynamo', 'sympy')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert told.stdout == "[]\n", told.stderr


def test_positions_of_the_same_grid_are_kept_as_they_are() -> None:
    positions = noise(1 + 32, 8)
    assert resize_positions(positions, source=Grid(8, 4), target=Grid(8, 4)) is positions


def test_positions_are_resized_between_grids_of_equal_count() -> None:
    resized = resize_positions(noise(1 + 32, 8), source=Grid(8, 4), target=Grid(4, 8))
    assert resized.shape == (33, 8)
    assert not torch.allclose(resized, noise(1 + 32, 8))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (EncoderRequest(kind="vit-h14"), "vit-h14"),
        (EncoderRequest(kind=None), "no encoder named"),
        (replace(VIT, precision="fp8"), "fp8"),
        (replace(VIT, training_precision="fp8"), "fp8"),
        (replace(VIT, device="abacus"), "abacus"),
        (replace(VIT, stride=17), "stride 17"),
        (replace(VIT, stride=-1), "stride -1"),
        (replace(VIT, num_cameras=-1), "-1 cameras"),
        (replace(VIT, image_size=ImageSize(15, 32)), "15x32"),
        (replace(RN, stride=12), "12"),
        (replace(RN, image_size=ImageSize(100, 50)), "100x50"),
        (replace(RN, num_cameras=2), "camera"),
        (EncoderRequest(kind=None, weights="openai"), "no encoder named"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(request_: EncoderRequest, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        create_clip_encoder(request_)


def test_an_unknown_camera_is_named_with_the_number_of_known_ones() -> None:
    encoder = create_clip_encoder(replace(VIT, num_cameras=2))
    with pytest.raises(EncoderError, match=r"camera 5 .* 2 cameras"):
        encoder.encode_images(noise(2, 3, 48, 32), torch.tensor([1, 5]))


def test_inputs_of_another_shape_are_a_programmers_mistake() -> None:
    encoder = create_clip_encoder(replace(VIT, num_cameras=2))
    with pytest.raises(ValueError, match="48x32"):
        encoder.encode_images(noise(1, 3, 32, 48))
    with pytest.raises(ValueError, match="1 images, 2 camids"):
        encoder.encode_images(noise(1, 3, 48, 32), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="prompts must be"):
        text_of(encoder).encode_prompts(noise(1, 4, 65))
    with pytest.raises(ValueError, match="exactly once"):
        text_of(encoder).embed_template("A photo.", num_context_tokens=4)
    with pytest.raises(EncoderError, match="78"):
        text_of(encoder).encode_prompts(noise(1, 78, 64))
