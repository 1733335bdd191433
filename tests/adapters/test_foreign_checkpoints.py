"""Checkpoints as other people's training scripts leave them."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from reid.adapters.encoders.nesting import find_tensors, strip_prefix
from reid.adapters.encoders.timm_encoder import create_timm_encoder
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize
from tests.adapters.test_weights_files import (
    embed,
    load,
    openai_state,
    released_state,
    trained_vit,
    write_run,
)
from tests.text import text_of

PREFIXES = ("", "model.", "clip_model.", "base_model.", "_orig_mod.", "module._orig_mod.", "a.b.c.")
ENTRIES = ((), ("model",), ("model_state_dict",), ("net",), ("state_dict",), ("ckpt", "student"))


def nested(state: dict[str, Tensor], entries: tuple[str, ...]) -> dict[str, Any]:
    content: dict[str, Any] = dict(state)
    for entry in reversed(entries):
        moments = {0: {"exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}}
        content = {"optimizer": {"state": moments}, entry: content, "epoch": 3}
    return content


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("entries", ENTRIES, ids=".".join)
def test_clip_is_found_in_any_entry_and_behind_any_prefix(
    entries: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    state = {prefix + name: value for name, value in openai_state().items()}
    encoder = load(saved(tmp_path / "theirs.pt", nested(state, entries)))
    plain = load(saved(tmp_path / "plain.pt", openai_state()))
    assert torch.equal(embed(encoder), embed(plain))
    taken = encoder.description.weights
    assert (f"entry {'.'.join(entries)}" in taken) is bool(entries)
    assert (f"names behind {prefix}" in taken) is bool(prefix)


@pytest.mark.parametrize("entries", [(), ("net",)])
@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_a_model_of_timm_is_found_likewise(
    entries: tuple[str, ...], prefix: str, tmp_path: Path
) -> None:
    model = timm.create_model("test_efficientnet", num_classes=0).eval()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    encoder = create_timm_encoder(
        EncoderRequest(
            kind="timm:test_efficientnet",
            weights=str(saved(tmp_path / "theirs.pth", nested(state, entries))),
            image_size=ImageSize(64, 32),
        )
    )
    images = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode_images(images).final, model(images))


def test_what_stands_beside_the_prefix_stays() -> None:
    tensors = {"net.visual.a": torch.zeros(1), "classifier.weight": torch.zeros(3, 2)}
    found, prefix = strip_prefix(tensors, {"visual.a"})
    assert (set(found), prefix) == ({"visual.a", "classifier.weight"}, "net.")


def test_the_first_of_equal_tables_is_taken() -> None:
    one, average = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    found = find_tensors({"model": one, "ema": average})
    assert found.entry == "model"
    assert torch.equal(found.tensors["a"], one["a"])


def test_no_message_denies_tensors_that_are_there(tmp_path: Path) -> None:
    path = saved(tmp_path / "other.pth", {"net": {"backbone.stem": torch.zeros(3)}})
    with pytest.raises(EncoderError, match=r"it has backbone\.stem in its entry net"):
        load(path)


@pytest.mark.parametrize(
    "value", [np.float64(0.9), np.float32(0.5), np.int64(7), np.bool_(1)], ids=repr
)
def test_numbers_of_numpy_are_harmless(value: object, tmp_path: Path) -> None:
    path = saved(tmp_path / "theirs.pt", {"model": openai_state(), "best": value})
    assert load(path).description.name == "vit-tiny"


def test_objects_are_named_with_their_entry(tmp_path: Path) -> None:
    content = {"model": openai_state(), "args": Namespace(lr=1.0), "best": np.float64(0.9)}
    with pytest.raises(EncoderError, match=r"argparse\.Namespace \(entry 'args'\); .*delete these"):
        load(saved(tmp_path / "theirs.pt", content))


def test_objects_in_files_of_old_versions_of_torch_are_named(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pth"
    content = {"model": openai_state(), "args": Namespace(lr=1.0)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(EncoderError, match=r"when loaded: argparse\.Namespace; .*delete these"):
        load(path)


def test_tensors_in_a_list_are_not_denied(tmp_path: Path) -> None:
    path = saved(tmp_path / "theirs.pt", {"models": [openai_state()]})
    with pytest.raises(EncoderError, match="it has no table of named tensors"):
        load(path)


def test_a_whole_pickled_module_is_named(tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=r"torch\.nn\.modules\.linear\.Linear"):
        load(saved(tmp_path / "theirs.pt", nn.Linear(2, 2)))


@pytest.mark.parametrize(("size", "count"), [((384, 128), 192), ((256, 128), 128)])
def test_openai_s_names_with_positions_of_another_size(
    size: tuple[int, int], count: int, tmp_path: Path
) -> None:
    state = openai_state()
    name = "visual.positional_embedding"
    generator = torch.Generator().manual_seed(3)
    state[name] = torch.randn(1 + count, state[name].shape[1], generator=generator)
    encoder = load(saved(tmp_path / "theirs.pt", state))
    assert encoder.geometry.image_size == ImageSize(*size)
    kept = encoder.state()["image_encoder.positional_embedding"]
    assert torch.equal(kept, state[name])


def test_positions_that_fit_no_known_size_ask_for_one(tmp_path: Path) -> None:
    state = openai_state()
    name = "visual.positional_embedding"
    state[name] = torch.zeros(1 + 32, state[name].shape[1])
    path = saved(tmp_path / "theirs.pt", state)
    size = ImageSize(128, 64)
    assert load(path).geometry.image_size == size
    state[name] = torch.zeros(1 + 40, state[name].shape[1])
    path = saved(tmp_path / "theirs.pt", state)
    with pytest.raises(EncoderError, match=r"40 position embeddings, which fits no image size"):
        load(path)
    assert load(path, image_size=ImageSize(160, 64)).geometry.image_size == ImageSize(160, 64)


def with_cameras(path: Path, rows: int) -> Path:
    state = released_state(trained_vit(num_cameras=1))
    generator = torch.Generator().manual_seed(5)
    width = state["cv_embed"].shape[1]
    return saved(path, state | {"cv_embed": torch.randn(rows, width, generator=generator)})


def test_embeddings_for_cameras_and_views_are_not_taken_for_cameras(tmp_path: Path) -> None:
    path = with_cameras(tmp_path / "veri.pth", 160)
    with pytest.raises(EncoderError, match=r"160 camera embeddings.*encoder\.camera_views"):
        load(path)
    encoder = load(path, camera_views=8)
    assert encoder.geometry.num_cameras == 20
    rows = torch.load(path, weights_only=True)["cv_embed"]
    torch.testing.assert_close(encoder.state()["cv_embed"][3], rows[24:32].mean(dim=0))
    assert load(path, camera_views=1).geometry.num_cameras == 160
    with pytest.raises(ConfigurationError, match="7 views"):
        load(path, camera_views=7)


def test_a_run_s_own_file_has_one_embedding_for_each_camera(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    write_run(path, trained_vit(num_cameras=8), has_text=False)
    assert load(path, camera_views=8).geometry.num_cameras == 8


def test_the_text_tower_may_come_from_elsewhere(tmp_path: Path) -> None:
    whole = saved(tmp_path / "clip.pt", openai_state())
    images = {name: v for name, v in openai_state().items() if name.startswith("visual.")}
    alone = saved(tmp_path / "images.pt", images)
    assert load(alone).text is None
    encoder = load(alone, text_weights=str(whole))
    prompts = text_of(encoder).embed_template("A {} person.", num_context_tokens=2)
    expected = text_of(load(whole)).embed_template("A {} person.", num_context_tokens=2)
    assert torch.equal(prompts.prefix, expected.prefix)
    with pytest.raises(EncoderError, match=r"encoder\.text_weights: .*has no text tower"):
        load(whole, text_weights=str(alone))
