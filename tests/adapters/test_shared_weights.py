"""`reid export --format safetensors`: an image tower's weights alone."""

from pathlib import Path

import pytest
import torch

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.sharing import ExportFile
from reid.adapters.safetensors_file import read_checkpoint
from reid.domain.errors import EncoderError
from reid.domain.values.encoders import EncoderRequest
from reid.ports.image_encoder import ImageEncoder
from tests.e2e.program import as_json, run
from tests.exports import RN
from tests.fakes.encoder import FakeEncoder


def reopen(path: Path) -> ImageEncoder:
    return create_clip_encoder(EncoderRequest(kind=None, weights=str(path)))


def test_a_command_writes_half_the_bytes_and_evaluates_them(tmp_path: Path) -> None:
    people = tmp_path / "people"
    run("dataset", "generate", people, "--identities", "4", "--test-identities", "3")
    settings = ["--set", "encoder.kind=timm:test_efficientnet", "--set", "encoder.weights=random"]
    few = ["finetuning.epochs=1", "finetuning.identities_per_batch=2", "encoder.image_size=[48,24]"]
    chosen = settings + [word for assigned in few for word in ("--set", assigned)]
    run("train", "--data", people, "--run", tmp_path / "run", "--device", "cpu", *chosen)
    told = run(
        "export", "--run", tmp_path / "run", tmp_path / "out" / "small.safetensors",
        "--format", "safetensors", "--precision", "fp16", "--json",
    )  # fmt: skip
    assert as_json(told)["precision"] == "fp16"
    written = read_checkpoint(tmp_path / "out" / "small.safetensors")
    whole = read_checkpoint(tmp_path / "run" / "encoder.safetensors")
    assert written.tensors.keys() < whole.tensors.keys()
    assert all(name.startswith("image_encoder.") for name in written.tensors)
    floats = [value for value in written.tensors.values() if value.is_floating_point()]
    assert {value.dtype for value in floats} == {torch.float16}
    assert written.header["encoder"] == whole.header["encoder"]
    scored: list[str | Path] = ["evaluate", "--data", people, "--json"]
    evaluated = as_json(run(*scored, "--weights", tmp_path / "out" / "small.safetensors"))
    original = as_json(run(*scored, "--run", tmp_path / "run", "--no-record"))
    assert evaluated["encoder"]["weights"] == "small.safetensors (trained from random (seed 1234))"
    scores = [found["report"]["mean_average_precision"] for found in (evaluated, original)]
    assert abs(scores[0] - scores[1]) < 0.05


def test_a_file_that_is_there_is_replaced_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    path.write_text("mine")
    for overwrite in (False, True):
        place = ExportFile(path, overwrite=overwrite, open_encoder=reopen)
        if overwrite:
            with place.write(create_clip_encoder(RN)) as (_, keep):
                assert path.read_text() == "mine"
                keep({"max_error": 1.0})
            assert read_checkpoint(path).header["comparison"] == {"max_error": 1.0}
        else:
            with pytest.raises(EncoderError, match="exists"), place.write(create_clip_encoder(RN)):
                pass


def test_a_folder_is_never_replaced(tmp_path: Path) -> None:
    place = ExportFile(tmp_path, overwrite=True, open_encoder=reopen)
    with pytest.raises(EncoderError, match="exists"), place.write(create_clip_encoder(RN)):
        pass


def test_an_encoder_of_a_plug_in_is_refused(tmp_path: Path) -> None:
    place = ExportFile(tmp_path / "one.safetensors", open_encoder=reopen)
    with pytest.raises(EncoderError, match="only built-in"), place.write(FakeEncoder()):
        pass


@pytest.mark.parametrize("form", ["openvino", "safetensors"])
def test_a_precision_that_does_not_suit_the_format_is_refused(tmp_path: Path, form: str) -> None:
    precision = {"openvino": "fp16", "safetensors": "bf16"}[form]
    told = run(
        "export", tmp_path / "out", "--weights", "random", "--encoder", "rn-tiny", "--format", form,
        "--precision", precision, expect=3,
    )  # fmt: skip
    assert f"{form} does not take {precision}" in told.stderr
    assert list(tmp_path.iterdir()) == []
