"""Models of open_clip behind the encoder's ports."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.open_clip_encoder import create_open_clip_encoder
from reid.adapters.encoders.open_clip_images import wrap
from reid.adapters.encoders.open_clip_text import OpenClipTextTower, hub_tokenizer
from reid.adapters.encoders.open_clip_weights import build, configuration_of, find_tag
from reid.adapters.encoders.text_encoder import template_tokens
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.application.export import Export
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.encoders import EncoderRequest, Pooling
from reid.domain.values.explanations import AttentionTrace, MapTrace
from reid.domain.values.samples import ImageSize
from tests.e2e.program import draw_people, run, train
from tests.exports import require
from tests.fakes.run_store import FakeRunStore
from tests.open_clip_models import MODELS, WITH_TEXT, created, know_models, request
from tests.services.training import (
    FINE_TUNING,
    PROMPTS,
    Laboratory,
    PowerCut,
    PowerFailureError,
    assert_same,
)
from tests.text import text_of

TEMPLATE = "A photo of a {} person."


def images(size: ImageSize, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size.height, size.width, generator=generator)


def saved(path: Path, name: str) -> tuple[Any, Path]:
    """Build a model as open_clip does, with other weights than a seed of 0 draws, and save it."""
    know_models()
    torch.manual_seed(5)
    model = build(configuration_of(name), quick_gelu=False).eval()
    torch.save({"state_dict": model.state_dict()}, path)
    return model, path


@pytest.mark.parametrize("name", WITH_TEXT)
def test_features_are_those_of_open_clip(name: str, tmp_path: Path) -> None:
    model, path = saved(tmp_path / "model.pt", name)
    side = MODELS[name]["vision_cfg"]["image_size"]
    size = ImageSize(side, side)
    encoder = create_open_clip_encoder(request(name, weights=str(path), image_size=size))
    features = encoder.encode_images(images(size))
    with torch.no_grad():
        wanted = model.encode_image(images(size), normalize=False)
    torch.testing.assert_close(features.projected, wanted, rtol=1e-4, atol=1e-5)
    assert features.penultimate.shape == (3, 0)
    assert encoder.description.weights == "model.pt (entry state_dict)"
    assert encoder.description.is_pretrained


@pytest.mark.parametrize("name", WITH_TEXT)
def test_prompts_are_encoded_as_open_clip_encodes_words(name: str, tmp_path: Path) -> None:
    model, path = saved(tmp_path / "model.pt", name)
    encoder = create_open_clip_encoder(request(name, weights=str(path)))
    text = text_of(encoder)
    tokens = open_clip.SimpleTokenizer(context_length=text.context_length)(
        ["A photo of a tall person.", "A photo of a small person."]
    )
    length = int((tokens[0] != 0).sum())
    with torch.no_grad():
        wanted = model.encode_text(tokens, normalize=False)
        embedded = (model.text if hasattr(model, "text") else model).token_embedding(tokens)
        got = text.encode_prompts(embedded[:, 1:length], prefix=embedded[0, :1])
        assert torch.equal(got, text.encode_prompts(embedded[:, :length]))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_prompt_may_fill_the_context(tmp_path: Path) -> None:
    model, path = saved(tmp_path / "model.pt", "tiny-coca")
    text = text_of(create_open_clip_encoder(request("tiny-coca", weights=str(path))))
    tokens = torch.arange(1, 33)[None]
    with torch.no_grad():
        wanted = model.encode_text(tokens, normalize=False)
        got = text.encode_prompts(model.text.token_embedding(tokens))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "size", "stride", "cells"),
    [
        ("tiny-vit", ImageSize(64, 32), None, (4, 2)),
        ("tiny-vit", ImageSize(64, 32), 8, (7, 3)),
        ("tiny-siglip", ImageSize(64, 32), 12, None),
        ("tiny-mobileclip", ImageSize(96, 48), 8, None),
        ("tiny-coca", ImageSize(64, 32), 8, None),
        ("tiny-convnext", ImageSize(96, 64), None, (3, 2)),
        ("tiny-resnet", ImageSize(96, 32), None, (3, 1)),
    ],
)
def test_images_have_any_size_and_patches_of_a_vit_overlap(
    name: str, size: ImageSize, stride: int | None, cells: tuple[int, int] | None
) -> None:
    encoder = created(name, image_size=size, stride=stride)
    features = encoder.encode_images(images(size))
    assert features.embedding().shape == (3, encoder.geometry.embedding_width)
    if cells is None:
        with pytest.raises(EncoderError, match="shows neither attention nor a map"):
            encoder.trace_images(images(size))
        return
    trace = encoder.trace_images(images(size))
    assert (trace.cells.rows, trace.cells.columns) == cells
    for name_ in ("final", "projected"):
        torch.testing.assert_close(
            getattr(trace.features, name_), getattr(features, name_), rtol=1e-4, atol=1e-5
        )
    evidence = trace.maps if isinstance(trace, MapTrace) else trace.attention[0]
    (gradient,) = torch.autograd.grad(trace.features.embedding().square().sum(), evidence)
    assert gradient.any()
    if isinstance(trace, AttentionTrace):
        shares = trace.attention[-1].sum(dim=3)
        torch.testing.assert_close(shares, torch.ones_like(shares))


def test_people_are_seen_at_their_size_in_whole_patches() -> None:
    sizes = [created(name, image_size=None).geometry.image_size for name in ("tiny-vit", "tiny-14")]
    assert sizes == [ImageSize(256, 128), ImageSize(252, 126)]


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("tiny-vitt", {}, r"no model 'tiny-vitt'; did you mean one of .*tiny-vit"),
        ("tiny-vit", {"num_cameras": 3}, "knows no cameras"),
        ("tiny-vit", {"pooling": Pooling.GEM}, "pools as open_clip does"),
        ("tiny-vit", {"options": {"width": 3}}, "takes no options"),
        ("tiny-vit", {"stride": 17}, r"stride 17 is outside 1\.\.16"),
        ("tiny-vit", {"image_size": ImageSize(8, 8)}, "smaller than a patch"),
        ("tiny-siglip", {"stride": 0}, r"stride 0 is outside 1\.\.16"),
        ("tiny-convnext", {"stride": 16}, "a ConvNeXt of open_clip: its patches cannot overlap"),
        ("tiny-resnet", {"stride": 16}, "its patches cannot overlap"),
        ("tiny-convnext", {"image_size": ImageSize(2, 2)}, "does not take images of 2x2"),
    ],
)
def test_what_does_not_suit_the_model_is_refused(
    name: str, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        created(name, **changes)


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-siglip", "tiny-convnext", "tiny-resnet"])
def test_a_run_s_file_says_how_it_was_built(name: str, tmp_path: Path) -> None:
    stride = None if name in ("tiny-convnext", "tiny-resnet") else 12
    encoder = created(name, seed=3, stride=stride)
    path = write_run(tmp_path / "encoder.safetensors", encoder)
    again = create_open_clip_encoder(EncoderRequest(kind=None, weights=str(path)))
    size = encoder.geometry.image_size
    assert torch.equal(
        again.encode_images(images(size)).embedding(),
        encoder.encode_images(images(size)).embedding(),
    )
    assert again.description.options == encoder.description.options
    assert again.description.num_identities == 7
    assert again.geometry == encoder.geometry
    larger = create_open_clip_encoder(
        EncoderRequest(kind=None, weights=str(path), image_size=ImageSize(96, 64))
    )
    assert larger.geometry.image_size == ImageSize(96, 64)
    assert larger.encode_images(images(ImageSize(96, 64))).embedding().isfinite().all()
    with pytest.raises(EncoderError, match="a run keeps the image tower alone"):
        Laboratory(encoder=again).prompt_learning().check()


def write_run(path: Path, encoder: TowerEncoder) -> Path:
    description = encoder.description
    header: dict[str, JsonValue] = {
        "format": "reid-encoder",
        "encoder": {"name": description.name, "options": dict(description.options)},
    }
    heads = {"classifier.weight": torch.zeros(7, encoder.geometry.final_width)}
    write_checkpoint(path, Checkpoint(tensors={**encoder.state(), **heads}, header=header))
    return path


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    _, path = saved(tmp_path / "model.pt", "tiny-resnet")
    with pytest.raises(EncoderError, match=r"model\.pt does not fit the encoder: visual\."):
        created("tiny-vit", weights=str(path))


def test_a_file_without_a_text_tower_gives_an_encoder_without_one(tmp_path: Path) -> None:
    model, path = saved(tmp_path / "model.pt", "tiny-vit")
    image = {f"module.visual.{name}": v.half() for name, v in model.visual.state_dict().items()}
    torch.save(image, path)
    encoder = created("tiny-vit", weights=str(path))
    assert encoder.text is None
    with pytest.raises(EncoderError, match=r"no text encoder \(the file holds none\), so prompts"):
        Laboratory(encoder=encoder).prompt_learning().check()


def test_a_text_tower_of_hugging_face_is_left_out_and_the_reason_told() -> None:
    encoder = created("tiny-roberta")
    assert encoder.text is None
    with pytest.raises(EncoderError, match="its text tower is a model of Hugging Face"):
        Laboratory(encoder=encoder).prompt_learning().check()


def test_published_weights_bring_their_activation_and_pixel_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tags of one model, published with different activations."""
    _, path = saved(tmp_path / "model.pt", "tiny-vit")
    tags: dict[str, dict[str, object]] = {
        "openai": {"quick_gelu": True, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.5, 0.6)},
        "laion": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    }
    publish(monkeypatch, tags, path)
    usual, laion = (created("tiny-vit", weights=name) for name in ("pretrained", "laion"))
    assert usual.description.weights == "openai (open_clip)"
    assert usual.geometry.pixel_mean == (0.1, 0.2, 0.3)
    assert usual.geometry.pixel_std == (0.5, 0.5, 0.6)
    assert usual.description.options["quick_gelu"] is True
    assert laion.description.options["quick_gelu"] is False
    size = usual.geometry.image_size
    assert not torch.allclose(
        usual.encode_images(images(size)).final, laion.encode_images(images(size)).final
    )


def publish(
    monkeypatch: pytest.MonkeyPatch, tags: dict[str, dict[str, object]], path: Path
) -> None:
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda _: list(tags))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda _, tag: tags[tag])
    monkeypatch.setattr(open_clip, "is_pretrained_cfg", lambda _, tag: tag in tags)
    monkeypatch.setattr(open_clip, "download_pretrained", lambda _: str(path))


def test_an_unknown_tag_is_answered_by_those_there_are() -> None:
    with pytest.raises(EncoderError, match=r"no weights of that name for ViT-B-32; it has openai"):
        find_tag("ViT-B-32", "laion3b")
    tag = find_tag("ViT-B-32", "laion2b_s34b_b79k")
    assert tag is not None
    assert not tag.quick_gelu
    usual = find_tag("ViT-B-32", None)
    assert usual is not None
    assert (usual.name, usual.quick_gelu) == ("openai", True)
    with pytest.raises(EncoderError, match="publishes none for tiny-vit"):
        created("tiny-vit", weights="pretrained")
    with pytest.raises(EncoderError, match="it has none: name a file"):
        created("tiny-vit", weights="openai")


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_: object) -> str:
        raise FileNotFoundError("Failed to download file")

    monkeypatch.setattr(open_clip, "download_pretrained", offline)
    with pytest.raises(
        EncoderError, match=r"Failed to download.*fetch laion/CLIP-ViT-B-32-laion2B-s34B-b79K/"
    ):
        create_open_clip_encoder(
            EncoderRequest(kind="open_clip:ViT-B-32", weights="laion2b_s34b_b79k")
        )


class Words:
    """A tokenizer as Hugging Face's: a start, a number per word, an end, padding."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        words = texts[0].lower().replace(".", " .").split()
        ids = [1, *(3 + sum(word.encode()) for word in words), 2]
        return torch.tensor([ids + [9] * (32 - len(ids))])


def test_a_tokenizer_of_another_library_shows_the_template_s_tokens() -> None:
    text: Any = build({**MODELS["tiny-vit"]}, quick_gelu=False)
    tower = OpenClipTextTower(text, pool="last", tokenize=hub_tokenizer("x", Words))
    one = tower.template_tokens("A photo of a {} person.")
    ids = Words()(["a photo of a tall person."])[0].tolist()
    assert one == (ids[:5], ids[6:9])
    assert tower.pad_token == 9
    clip = OpenClipTextTower(
        text, pool="argmax", tokenize=hub_tokenizer("x", open_clip.SimpleTokenizer)
    )
    assert clip.template_tokens(TEMPLATE) == template_tokens(TEMPLATE)
    assert clip.pad_token == 0


def test_a_tokenizer_that_cannot_be_had_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    know_models()
    monkeypatch.setitem(sys.modules, "transformers", None)
    tokenize = hub_tokenizer("ViT-B-16-SigLIP", lambda: open_clip.get_tokenizer("ViT-B-16-SigLIP"))
    with pytest.raises(EncoderError, match="pip install transformers sentencepiece"):
        tokenize("a")


@pytest.mark.parametrize("name", ["tiny-siglip", "tiny-convnext"])
def test_both_stages_that_resume_end_where_whole_ones_do(name: str) -> None:
    def laboratory(**others: Any) -> Laboratory:
        return Laboratory(
            encoder=created(name, image_size=ImageSize(32, 32)),
            prompts=replace(PROMPTS, epochs=2),
            fine_tuning=replace(FINE_TUNING, epochs=2),
            **others,
        )

    whole = laboratory()
    prompts = whole.prompt_learning().run()
    tuned = whole.encoder_tuning().run(prompts)
    runs = FakeRunStore()
    with pytest.raises(PowerFailureError):
        laboratory(runs=runs, listener=PowerCut(epoch=2)).prompt_learning().run()
    assert_same(laboratory(runs=runs).prompt_learning().run(), prompts)
    with pytest.raises(PowerFailureError):
        laboratory(runs=runs, listener=PowerCut(epoch=2)).encoder_tuning().run(prompts)
    resumed = laboratory(runs=runs)
    assert_same(resumed.encoder_tuning().run(prompts), tuned)
    assert [epoch.epoch for epoch in resumed.epochs()] == [2]


def test_commands_train_both_stages_resume_evaluate_and_identify(tmp_path: Path) -> None:
    know_models()
    people = draw_people(
        tmp_path / "people", identities=4, test_identities=3, images=2, distractors=0
    )
    chosen = [
        *("--encoder", "open_clip:tiny-vit", "--weights", "random", "--device", "cpu"),
        *("--set", "encoder.image_size=[64, 32]", "--set", "encoder.stride=12"),
        *("--set", "finetuning.epochs=2", "--set", "finetuning.identities_per_batch=2"),
    ]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(people, whole, *chosen)
    train(people, parts, *chosen, "--stage", "prompts")
    train(people, parts, *chosen, "--resume")
    for file in ("prompts.safetensors", "encoder.safetensors"):
        assert (whole / file).read_bytes() == (parts / file).read_bytes()
    header = read_checkpoint(whole / "encoder.safetensors").header["encoder"]
    assert isinstance(header, dict)
    assert header["name"] == "open_clip:tiny-vit"
    evaluated = run("evaluate", "--run", whole, "--data", people)
    assert "open_clip:tiny-vit (64x32, stride 12" in evaluated.stdout
    found = run("identify", people / "query", "--gallery", people / "query", "--run", whole)
    assert "open_clip:tiny-vit" in found.stdout + found.stderr


@pytest.mark.parametrize("name", ["tiny-vit", "tiny-siglip", "tiny-convnext", "tiny-resnet"])
def test_towers_are_exported_for_another_runtime(name: str, tmp_path: Path) -> None:
    require("openvino")
    encoder = created(name)
    place = ExportFolder(tmp_path / "graph", runtime="openvino")
    outcome = Export(encoder=encoder, seed=1).run(place)
    assert max(found.angle for found in outcome.deviations.values()) < 1e-6


@pytest.mark.slow
def test_every_model_of_open_clip_takes_images_of_people() -> None:
    """All of open_clip's list, without storage; those that share an image tower once."""
    towers = {}
    for name in open_clip.list_models():
        configuration = configuration_of(name)
        if name not in MODELS:
            towers[str(sorted(configuration["vision_cfg"].items()))] = name
    assert len(towers) > 60
    for name in towers.values():
        configuration = configuration_of(name)
        with torch.device("meta"):
            model: Any = build(configuration, quick_gelu=False).eval()
            visual = wrap(model.visual)
            side = visual.patch_size
            height, width = 256 // side * side, 128 // side * side
            visual.fit(ImageSize(height, width), None)
            features = visual(torch.zeros(2, 3, height, width), None)
            assert features.projected.shape == (2, configuration["embed_dim"]), name
            assert features.final.shape[1] > 0, name
