"""Models of timm as image towers without a text tower."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from reid.adapters.encoders import efficientnet_names
from reid.adapters.encoders.efficientnet_names import rename_efficientnet
from reid.adapters.encoders.exporting import ExportFolder
from reid.adapters.encoders.timm_encoder import create_timm_encoder
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.adapters.safetensors_file import read_checkpoint, write_checkpoint
from reid.application.export import Export
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.values.checkpoints import Checkpoint, JsonValue
from reid.domain.values.encoders import EncoderRequest
from reid.domain.values.samples import ImageSize
from tests.e2e.program import draw_people, run
from tests.exports import require
from tests.fakes.run_store import FakeRunStore
from tests.services.training import (
    FINE_TUNING,
    Laboratory,
    PowerCut,
    PowerFailureError,
    assert_same,
)

SMALL = ImageSize(64, 32)
MODEL = "timm:test_efficientnet"


def request(**changes: object) -> EncoderRequest:
    return EncoderRequest(**{"kind": MODEL, "image_size": SMALL, **changes})  # type: ignore[arg-type]


def images(count: int = 3, size: ImageSize = SMALL) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, 3, size.height, size.width, generator=generator)


def saved_weights(path: Path, model: str) -> Path:
    torch.manual_seed(5)
    torch.save(timm.create_model(model).state_dict(), path)
    return path


def test_features_are_those_of_timm(tmp_path: Path) -> None:
    path = saved_weights(tmp_path / "model.pth", "test_efficientnet")
    encoder = create_timm_encoder(request(weights=str(path)))
    model = timm.create_model("test_efficientnet", num_classes=0).eval()
    config: Any = model.pretrained_cfg
    model.load_state_dict(torch.load(path), strict=False)
    features = encoder.encode_images(images())
    with torch.no_grad():
        torch.testing.assert_close(features.embedding(), model(images()), rtol=1e-4, atol=1e-5)
    assert features.penultimate.shape == features.projected.shape == (3, 0)
    assert encoder.description.weights == "model.pth"
    assert encoder.description.is_pretrained
    assert encoder.geometry.pixel_mean == config["mean"]
    assert encoder.text is None


def test_a_width_maps_the_pooled_features_linearly() -> None:
    plain, narrow = (create_timm_encoder(request(options=o)) for o in ({}, {"width": 24}))
    features = narrow.encode_images(images())
    assert torch.equal(features.penultimate, plain.encode_images(images()).final)
    wanted = features.penultimate @ narrow.state()["image_encoder.embed.weight"].T
    torch.testing.assert_close(features.final, wanted)
    assert (narrow.geometry.penultimate_width, narrow.geometry.final_width) == (256, 24)


@pytest.mark.parametrize(
    ("model", "size", "stride", "cells"),
    [
        ("test_efficientnet", ImageSize(64, 32), None, (2, 1)),
        ("test_efficientnet", ImageSize(64, 32), 16, (4, 2)),
        ("test_resnet", ImageSize(96, 64), None, (3, 2)),
        ("test_vit", ImageSize(96, 64), None, None),
    ],
)
def test_any_size_that_the_model_takes(
    model: str, size: ImageSize, stride: int | None, cells: tuple[int, int] | None
) -> None:
    encoder = create_timm_encoder(
        EncoderRequest(kind=f"timm:{model}", image_size=size, stride=stride)
    )
    features = encoder.encode_images(images(2, size))
    assert features.embedding().shape == (2, encoder.geometry.embedding_width)
    if cells is None:
        with pytest.raises(EncoderError, match="has no map of channels"):
            encoder.trace_images(images(2, size))
        return
    trace = encoder.trace_images(images(2, size))
    assert (trace.cells.rows, trace.cells.columns) == cells
    torch.testing.assert_close(trace.features.final, features.final, rtol=1e-4, atol=1e-5)


def test_a_run_s_file_says_how_it_was_built(tmp_path: Path) -> None:
    encoder = create_timm_encoder(request(options={"width": 24}, stride=16))
    description = encoder.description
    header: dict[str, JsonValue] = {
        "format": "reid-encoder",
        "encoder": {"name": description.name, "options": dict(description.options)},
    }
    path = tmp_path / "encoder.safetensors"
    heads = {"classifier.weight": torch.zeros(7, 24), "teacher_map.weight": torch.zeros(5, 24)}
    write_checkpoint(path, Checkpoint(tensors={**encoder.state(), **heads}, header=header))
    again = create_timm_encoder(EncoderRequest(kind=None, weights=str(path)))
    assert torch.equal(
        again.encode_images(images()).embedding(), encoder.encode_images(images()).embedding()
    )
    assert again.description.options == description.options
    assert again.description.num_identities == 7
    larger = create_timm_encoder(
        EncoderRequest(kind=None, weights=str(path), image_size=ImageSize(96, 64))
    )
    assert larger.geometry.image_size == ImageSize(96, 64)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "timm:test_efficientnett"}, "timm knows no model 'test_efficientnett'"),
        ({"num_cameras": 3}, "knows no cameras"),
        ({"options": {"width": 0}}, "takes `width` alone"),
        ({"options": {"depth": 3}}, "takes `width` alone"),
        ({"kind": "timm:test_vit", "stride": 8}, "cannot build test_vit"),
        ({"kind": "timm:test_vit", "image_size": ImageSize(60, 30)}, "does not take images"),
    ],
)
def test_what_does_not_suit_the_model_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        create_timm_encoder(request(**changes))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    path = saved_weights(tmp_path / "model.pth", "test_resnet")
    with pytest.raises(EncoderError, match=r"model\.pth for timm:test_efficientnet"):
        create_timm_encoder(request(weights=str(path)))


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(EncoderError, match=r"no network.*on a machine with network access"):
        create_timm_encoder(request(weights="pretrained"))


def test_efficientnet_s_names_become_timm_s() -> None:
    model = timm.create_model("tf_efficientnet_lite0")
    wanted = model.state_dict()
    outer = {new: old for old, new in efficientnet_names._OUTER.items()}
    numbers: dict[tuple[str, str], int] = {}
    given = {}
    for name, value in wanted.items():
        parts = name.split(".")
        if parts[0] != "blocks":
            given[".".join([outer[parts[0]], *parts[1:]])] = value
            continue
        _, stage, place, part, rest = name.split(".", 4)
        number = numbers.setdefault((stage, place), len(numbers))
        table = (
            efficientnet_names._FIRST_STAGE if stage == "0" else efficientnet_names._OTHER_STAGES
        )
        inner = {new: old for old, new in table.items()}
        given[f"_blocks.{number}.{inner[part]}.{rest}"] = value
    assert given["_blocks.15._project_conv.weight"].shape[0] == 320
    renamed = rename_efficientnet(given)
    assert renamed.keys() == wanted.keys()
    assert all(renamed[name] is wanted[name] for name in wanted)
    assert rename_efficientnet(wanted) == wanted


def test_a_training_that_resumes_ends_where_a_whole_one_does() -> None:
    def tower() -> TowerEncoder:
        return create_timm_encoder(request(image_size=ImageSize(32, 16), options={"width": 8}))

    recipe = replace(FINE_TUNING, epochs=2, image_to_text_weight=0.0)
    whole = Laboratory(encoder=tower(), fine_tuning=recipe).encoder_tuning().run(None)
    runs = FakeRunStore()
    cut = Laboratory(encoder=tower(), fine_tuning=recipe, runs=runs, listener=PowerCut(epoch=2))
    with pytest.raises(PowerFailureError):
        cut.encoder_tuning().run(None)
    resumed = Laboratory(encoder=tower(), fine_tuning=recipe, runs=runs)
    assert_same(resumed.encoder_tuning().run(None), whole)
    assert [epoch.epoch for epoch in resumed.epochs()] == [2]


def test_a_command_trains_it_by_a_teacher_and_evaluates_it(tmp_path: Path) -> None:
    people = draw_people(
        tmp_path / "people", identities=4, test_identities=3, images=2, distractors=0
    )
    settings = {
        "encoder.kind": MODEL,
        "encoder.weights": "random",
        "encoder.image_size": "[32, 16]",
        "encoder.options.width": "8",
        "teacher.kind": "timm:test_resnet",
        "teacher.weights": "random",
        "teacher.image_size": "[48, 24]",
        "finetuning.epochs": "2",
        "finetuning.identities_per_batch": "2",
    }
    chosen = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    place = tmp_path / "run"
    run("train", "--data", people, "--run", place, "--device", "cpu", *chosen)
    trained = read_checkpoint(place / "encoder.safetensors")
    assert trained.tensors["teacher_map.weight"].shape == (96, 8)
    assert trained.header["encoder"]["name"] == MODEL  # type: ignore[index, call-overload]
    for line in (place / "metrics.jsonl").read_text().splitlines():
        if '"total"' in line:
            assert {"teacher", "neighbours"} <= json.loads(line)["losses"].keys()
    evaluated = run("evaluate", "--run", place, "--data", people)
    assert "timm:test_efficientnet (32x16, identities 4)" in evaluated.stdout


def test_a_tower_is_exported_for_batches_of_any_size(tmp_path: Path) -> None:
    require("openvino")
    outcome = Export(encoder=create_timm_encoder(request()), seed=1).run(
        ExportFolder(tmp_path / "graph", runtime="openvino")
    )
    assert max(found.angle for found in outcome.deviations.values()) < 1e-6
