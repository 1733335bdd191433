"""Weights in all their layouts, and all the ways in which a file can be wrong."""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from socket import gaierror
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.openai_weights import download_openai_weights
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.encoders.weights import read_weights_file
from reid.adapters.safetensors_file import write_checkpoint
from reid.domain.errors import EncoderError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.samples import ImageSize
from tests.golden.loading import golden_clip_state
from tests.text import text_of, text_state

SIZE = ImageSize(128, 64)
State = dict[str, Tensor]


def openai_state(arch: str = "vit_tiny") -> State:
    return {name: torch.from_numpy(value) for name, value in golden_clip_state(arch).items()}


def released_state(encoder: TowerEncoder, *, num_identities: int = 7) -> State:
    """A checkpoint as the paper's code writes it: no vocabulary, but heads and prompts."""
    state = dict(encoder.state()) | text_state(encoder)
    del state["text_encoder.token_embedding.weight"]
    width = encoder.geometry.final_width
    heads = {
        "classifier.weight": torch.zeros(num_identities, width),
        "bottleneck.bias": torch.zeros(width),
        "prompt_learner.cls_ctx": torch.zeros(num_identities, 4, text_of(encoder).token_width),
    }
    return state | heads


def load(path: Path, **asked: Any) -> TowerEncoder:
    request = EncoderRequest(kind=None, weights=str(path))
    return create_clip_encoder(replace(request, **asked))


def embed(encoder: TowerEncoder) -> Tensor:
    size = encoder.geometry.image_size
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(2, 3, size.height, size.width, generator=generator)
    camids = torch.tensor([0, 1]) if encoder.geometry.num_cameras else None
    with torch.no_grad():
        return encoder.encode_images(images, camids).embedding()


class Holder(nn.Module):
    """A module whose only purpose is to bear tensors under dotted names."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        children: dict[str, State] = {}
        for name, value in state.items():
            first, _, rest = name.partition(".")
            if rest:
                children.setdefault(first, {})[rest] = value
            else:
                self.register_buffer(first, value)
        for first, part in children.items():
            self.add_module(first, Holder(part))

    def forward(self, images: Tensor) -> Tensor:
        return images


def write_pickle(path: Path, state: State) -> None:
    torch.save(state, path)


def write_half_pickle(path: Path, state: State) -> None:
    torch.save({name: v.half() if v.is_floating_point() else v for name, v in state.items()}, path)


def write_open_clip(path: Path, state: State) -> None:
    inner = {f"module.{name}": value for name, value in state.items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": inner}, path)


def write_safetensors(path: Path, state: State) -> None:
    save_file(state, path)


def write_torchscript(path: Path, state: State) -> None:
    with torch.device("cpu"):
        torch.jit.script(Holder(state)).save(path)  # type: ignore[no-untyped-call]


WRITERS: dict[str, Callable[[Path, State], None]] = {
    "pickle": write_pickle,
    "open_clip": write_open_clip,
    "safetensors": write_safetensors,
    "torchscript": write_torchscript,
}


@pytest.fixture(params=list(WRITERS.values()), ids=list(WRITERS))
def write(request: pytest.FixtureRequest) -> Callable[[Path, State], None]:
    writer: Callable[[Path, State], None] = request.param
    return writer


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("arch", ["vit_tiny", "rn_tiny"])
def test_every_container_of_openai_weights_gives_the_same_tensors(
    arch: str, write: Callable[[Path, State], None], tmp_path: Path
) -> None:
    state = openai_state(arch)
    path = tmp_path / "ViT-B-16.pt"
    write(path, state)
    encoder = load(path)
    assert encoder.description.name == arch.replace("_", "-")
    assert encoder.description.weights.startswith(path.name)
    assert encoder.description.is_pretrained
    loaded = dict(encoder.state()) | text_state(encoder)
    kept = {
        name: value
        for name, value in state.items()
        if value.ndim
        and not name.endswith("visual.positional_embedding")
        and not name.endswith("attnpool.positional_embedding")
    }
    for name, value in kept.items():
        new = (
            name.replace("visual.", "image_encoder.")
            if "visual" in name
            else f"text_encoder.{name}"
        )
        assert torch.equal(loaded[new], value)


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    path = tmp_path / "half.pt"
    write_half_pickle(path, openai_state())
    state = load(path).state()
    assert {value.dtype for value in state.values()} == {torch.float32}


def test_every_parameter_of_loaded_weights_can_be_trained(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_pickle(path, openai_state())
    encoder = load(path, num_cameras=2)
    for tower in (encoder, text_of(encoder)):
        assert all(parameter.requires_grad for _, parameter in tower.named_parameters())


def test_loading_survives_that_the_file_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    write_safetensors(path, openai_state())
    encoder = load(path)
    before = embed(encoder)
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"\xff" * 1_000_000)
    assert torch.equal(embed(encoder), before)


def test_fresh_cameras_for_weights_without_them_depend_on_the_seed(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_pickle(path, openai_state())
    first, same, other = (
        load(path, num_cameras=3, seed=seed).state()["cv_embed"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_batch_counts_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "rn.pt"
    state = openai_state("rn_tiny")
    write_pickle(path, {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")})
    assert embed(load(path)).isfinite().all()


def trained_vit(**asked: Any) -> TowerEncoder:
    request = EncoderRequest(kind="vit-tiny", image_size=SIZE, seed=4)
    return create_clip_encoder(replace(request, **asked))


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("stride", [16, 12])
def test_a_released_checkpoint_says_cameras_stride_and_size(
    stride: int, prefix: str, tmp_path: Path
) -> None:
    original = trained_vit(stride=stride, num_cameras=6)
    path = tmp_path / "released.pth"
    write_pickle(path, {prefix + name: v for name, v in released_state(original).items()})
    encoder = load(path)
    assert encoder.geometry == original.geometry
    assert encoder.description.options == original.description.options
    assert encoder.description.is_pretrained
    assert torch.equal(embed(encoder), embed(original))
    assert read_weights_file(path).num_identities == 7


def test_a_released_resnet_is_read_and_its_idle_cameras_ignored(tmp_path: Path) -> None:
    original = create_clip_encoder(EncoderRequest(kind="rn-tiny", image_size=SIZE))
    path = tmp_path / "released.pth"
    write_pickle(path, released_state(original) | {"cv_embed": torch.zeros(6, 512)})
    encoder = load(path)
    assert encoder.geometry == original.geometry
    assert torch.equal(embed(encoder), embed(original))


def test_released_weights_describe_prompts_but_know_no_words(tmp_path: Path) -> None:
    original = trained_vit()
    path = tmp_path / "released.pth"
    write_pickle(path, released_state(original))
    encoder = load(path)
    prompts = 0.02 * torch.ones(1, 5, 64)
    assert torch.equal(
        text_of(encoder).encode_prompts(prompts), text_of(original).encode_prompts(prompts)
    )
    with pytest.raises(EncoderError, match=r"released\.pth hold no token embeddings"):
        text_of(encoder).embed_template("A {} person.", num_context_tokens=1)


def test_an_unusual_size_must_be_told(tmp_path: Path) -> None:
    original = trained_vit(image_size=ImageSize(160, 64))
    path = tmp_path / "released.pth"
    write_pickle(path, released_state(original))
    with pytest.raises(EncoderError, match=r"40 position embeddings.*encoder.image_size"):
        load(path)
    encoder = load(path, image_size=ImageSize(160, 64))
    assert torch.equal(embed(encoder), embed(original))


@pytest.mark.parametrize("asked", [{"image_size": ImageSize(256, 128)}, {"stride": 12}])
def test_released_positions_are_resized_on_demand(asked: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    write_pickle(path, released_state(trained_vit()))
    encoder = load(path, **asked)
    expected = trained_vit(**asked).state()
    name = "image_encoder.positional_embedding"
    assert encoder.state()[name].shape == expected[name].shape
    assert embed(encoder).isfinite().all()


def reid_header(encoder: TowerEncoder) -> dict[str, JsonValue]:
    description = encoder.description
    return {
        "format": "reid-encoder",
        "encoder": {
            "name": description.name,
            "weights": description.weights,
            "is_pretrained": description.is_pretrained,
            "options": dict(description.options),
        },
    }


def write_run(path: Path, encoder: TowerEncoder, *, has_text: bool = False) -> None:
    heads = {"classifier.weight": torch.zeros(5, encoder.geometry.final_width)}
    tensors = heads | dict(encoder.state()) | (text_state(encoder) if has_text else {})
    write_checkpoint(path, Checkpoint(tensors=tensors, header=reid_header(encoder)))


def test_a_runs_checkpoint_rebuilds_its_encoder(tmp_path: Path) -> None:
    original = trained_vit(image_size=ImageSize(70, 45), stride=7, num_cameras=3, camera_scale=2.5)
    path = tmp_path / "encoder.safetensors"
    write_run(path, original, has_text=True)
    encoder = load(path)
    assert encoder.geometry == original.geometry
    assert encoder.description.options == original.description.options
    assert not encoder.description.is_pretrained
    assert read_weights_file(path).num_identities == 5
    assert torch.equal(embed(encoder), embed(original))
    prompts = 0.02 * torch.ones(1, 5, 64)
    assert torch.equal(
        text_of(encoder).encode_prompts(prompts), text_of(original).encode_prompts(prompts)
    )


def test_a_runs_checkpoint_keeps_its_activation(tmp_path: Path) -> None:
    original = trained_vit(activation=Activation.GELU)
    path = tmp_path / "encoder.safetensors"
    write_run(path, original, has_text=True)
    encoder = load(path)
    assert encoder.description.options["activation"] == "gelu"
    assert torch.equal(embed(encoder), embed(original))
    prompts = 0.02 * torch.ones(1, 5, 64)
    assert torch.equal(
        text_of(encoder).encode_prompts(prompts), text_of(original).encode_prompts(prompts)
    )


def test_an_activation_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_run(path, trained_vit())
    with pytest.raises(EncoderError, match="trained with the activation quick_gelu, not gelu"):
        load(path, activation=Activation.GELU)


def test_a_run_from_before_there_was_a_choice_has_quick_gelu(tmp_path: Path) -> None:
    original = trained_vit()
    path = tmp_path / "encoder.safetensors"
    header = reid_header(original)
    described = header["encoder"]
    assert isinstance(described, dict)
    options = described["options"]
    assert isinstance(options, dict)
    del options["activation"]
    tensors = dict(original.state())
    write_checkpoint(path, Checkpoint(tensors=tensors, header=header))
    assert load(path).description.options["activation"] == "quick_gelu"
    assert torch.equal(embed(load(path)), embed(original))


def test_a_file_that_cannot_tell_takes_the_activation_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_pickle(path, openai_state())
    encoder = load(path, activation=Activation.GELU)
    assert encoder.description.options["activation"] == "gelu"
    assert not torch.allclose(embed(encoder), embed(load(path)), rtol=1e-3)


def trained_resnet(**asked: Any) -> TowerEncoder:
    """An untrained one in truth: only what the file says of it matters."""
    request = EncoderRequest(kind="rn-tiny", image_size=SIZE)
    return create_clip_encoder(replace(request, **asked))


def test_a_runs_checkpoint_keeps_its_pooling(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    for pooling in Pooling:
        original = trained_resnet(pooling=pooling)
        write_run(path, original)
        encoder = load(path)
        assert encoder.description.options == original.description.options
        assert torch.equal(embed(encoder), embed(original))
        assert torch.equal(embed(load(path, pooling=pooling)), embed(original))


def test_files_of_encoders_that_average_do_not_speak_of_pooling() -> None:
    assert "pooling" not in trained_resnet().description.options
    assert trained_resnet(pooling=Pooling.GEM).description.options["pooling"] == "gem"


def test_a_pooling_that_contradicts_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_run(path, trained_resnet())
    with pytest.raises(EncoderError, match="trained with the pooling average, not gem"):
        load(path, pooling=Pooling.GEM)


def test_a_file_that_cannot_tell_takes_the_pooling_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_pickle(path, openai_state("rn_tiny"))
    encoder = load(path, pooling=Pooling.GEM)
    assert encoder.description.options["pooling"] == "gem"
    assert not torch.allclose(embed(encoder), embed(load(path)), rtol=1e-3)


def test_a_checkpoint_without_text_tower_describes_images_only(tmp_path: Path) -> None:
    original = trained_vit()
    path = tmp_path / "encoder.safetensors"
    write_run(path, original)
    encoder = load(path)
    assert torch.equal(embed(encoder), embed(original))
    assert encoder.text is None


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"format": "prompts"}, "not of an encoder"),
        ({"format": "reid-encoder"}, "not of an encoder"),
        ({"format": "reid-encoder", "encoder": {"name": "vit-tiny"}}, "does not say"),
        ({"format": "reid-encoder", "encoder": {"name": "means"}}, "'means', which is not built"),
        (
            {
                "format": "reid-encoder",
                "encoder": {"name": "vit-tiny", "options": {"image_size": [0, 5], "stride": 16}},
            },
            "does not say",
        ),
        (
            {
                "format": "reid-encoder",
                "encoder": {"name": "vit-tiny", "options": {"activation": "tanh"}},
            },
            "activation 'tanh', which this version does not know",
        ),
        (
            {
                "format": "reid-encoder",
                "encoder": {"name": "rn-tiny", "options": {"pooling": "max"}},
            },
            "pooling 'max', which this version does not know",
        ),
    ],
)
def test_a_header_that_says_too_little_is_refused(
    header: dict[str, JsonValue], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    tensors = dict(trained_vit().state())
    write_checkpoint(path, Checkpoint(tensors=tensors, header=header))
    with pytest.raises(EncoderError, match=words):
        load(path)


def test_a_kind_that_contradicts_the_file_is_refused_by_both_names(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    write_pickle(path, openai_state())
    with pytest.raises(EncoderError, match=r"clip\.pt holds a vit-tiny.*rn50"):
        load(path, kind="rn50")


def test_another_number_of_cameras_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "released.pth"
    write_pickle(path, released_state(trained_vit(num_cameras=6)))
    with pytest.raises(EncoderError, match="knows 6 cameras, but 15"):
        load(path, num_cameras=15)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"absent\.pt does not exist; name a weights file"):
        load(tmp_path / "absent.pt")
    with pytest.raises(EncoderError, match="is a folder"):
        load(tmp_path)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_file_cut_short_is_refused_by_name(
    write: Callable[[Path, State], None], share: float, tmp_path: Path
) -> None:
    whole = tmp_path / "whole"
    write(whole, {"visual.conv1.weight": torch.randn(300, 300)})
    cut = tmp_path / "cut.bin"
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(EncoderError, match=r"cut\.bin"):
        load(cut)


def test_a_torchscript_archive_damaged_inside_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("clip/constants.pkl", b"nonsense")
        archive.writestr("clip/code/model.py", b"nonsense")
    with pytest.raises(EncoderError, match=r"clip\.pt cannot be read"):
        load(path)


@pytest.mark.parametrize("name", ["notes.txt", "notes.safetensors", "notes.pt"])
def test_a_file_that_holds_no_tensors_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("Buy milk. " * 50)
    with pytest.raises(EncoderError, match=name):
        load(path)


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {"a": torch.zeros(2)}])
def test_tensors_of_something_else_are_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(EncoderError, match=r"other\.pt holds"):
        load(path)


def test_an_encoder_of_another_size_is_refused_with_its_measures(tmp_path: Path) -> None:
    path = tmp_path / "wide.pt"
    state = openai_state()
    state["visual.proj"] = torch.zeros(64, 48)
    write_pickle(path, state)
    with pytest.raises(EncoderError, match=r"layers 12, width 64, projected width 48.*vit-b16"):
        load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"visual.ln_post.weight": None}, "ln_post.weight is missing"),
        ({"visual.unknown person": torch.zeros(1)}, "unknown person is unknown"),
        ({"ln_final.bias": torch.zeros(3)}, r"ln_final.bias is \(3,\), not \(64,\)"),
        ({"visual.positional_embedding": torch.zeros(10, 64)}, "9 position embeddings"),
        ({"visual.positional_embedding": None}, "0 position embeddings"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_tensor(
    change: dict[str, Tensor | None], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "clip.pt"
    changed = openai_state() | change
    write_pickle(path, {name: value for name, value in changed.items() if value is not None})
    with pytest.raises(EncoderError, match=words):
        load(path)


def test_openai_weights_come_through_the_downloader(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-16.pt"
    write_pickle(path, openai_state())
    asked = []

    def fetch(config: Mapping[str, Any], *, prefer_hf_hub: bool) -> str:
        asked.append((config["url"], prefer_hf_hub))
        return str(path)

    weights = download_openai_weights("vit-b16", fetch=fetch)
    assert weights.words == "openai"
    assert weights.options == {"activation": "quick_gelu"}
    assert "image_encoder.conv1.weight" in weights.image
    ((url, prefers_hub),) = asked
    assert url.endswith("ViT-B-16.pt")
    assert not prefers_hub


@pytest.mark.parametrize("kind", ["vit-b16", "rn50"])
def test_without_network_the_message_says_what_to_do(kind: str) -> None:
    def fetch(config: Mapping[str, Any], *, prefer_hf_hub: bool) -> str:
        assert config["url"].endswith(".pt")
        raise FileNotFoundError("hub") if prefer_hf_hub else URLError("no route")

    with pytest.raises(EncoderError) as caught:
        download_openai_weights(kind, fetch=fetch)
    message = str(caught.value)
    assert "no route" in message
    assert ".pt" in message
    assert "encoder.weights" in message
    assert "random" not in message
    assert "\n" not in message


def test_tiny_encoders_have_no_openai_weights() -> None:
    with pytest.raises(EncoderError, match=r"encoder\.weights: OpenAI published none for rn-tiny"):
        create_clip_encoder(EncoderRequest(kind="rn-tiny", weights="openai"))


def test_without_a_network_nobody_waits_for_the_second_host() -> None:
    asked: list[bool] = []

    def fetch(_: Mapping[str, Any], *, prefer_hf_hub: bool) -> str:
        asked.append(prefer_hf_hub)
        raise URLError(gaierror(-2, "Name or service not known"))

    with pytest.raises(EncoderError, match=r"Name or service not known.*encoder.weights"):
        download_openai_weights("vit-b16", fetch=fetch)
    assert asked == [False]


def test_a_zip_with_a_damaged_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    write_pickle(path, openai_state())
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"XXXX"))
    with pytest.raises(EncoderError, match="damaged"):
        read_weights_file(path)
