"""What is peculiar to encoders that were exported."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.exported import (
    HEADER_FILE,
    is_exported,
    open_exported_encoder,
    read_export_header,
)
from reid.adapters.encoders.exporting import ExportFolder, trace
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.application.export import Export
from reid.container.encoders import create_encoder, create_image_encoder, require_trainable
from reid.domain.errors import ConfigurationError, EncoderError
from reid.domain.numerical_error import measure_error, probe_images
from reid.domain.values.encoders import Activation, EncoderRequest, Pooling
from reid.domain.values.samples import ImageSize
from tests.exports import RN, VIT_WITH_CAMERAS, exported, opened, require
from tests.fakes.encoder import FakeEncoder


@pytest.fixture
def folder() -> Path:
    return exported("rn-tiny")


@pytest.fixture
def own_folder(folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return shutil.copytree(folder, tmp_path / "copy")


def forget(monkeypatch: pytest.MonkeyPatch, runtime: str) -> None:
    """Import a runtime anew when it is next used."""
    for module in ("openvino", "onnxruntime", f"reid.adapters.encoders.{runtime}_graphs"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr(f"reid.adapters.encoders.{runtime}_graphs", raising=False)


def request_for(folder: Path) -> EncoderRequest:
    return EncoderRequest(kind=None, weights=str(folder))


def probes(encoder: TowerEncoder, count: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return probe_images(encoder.geometry, count, generator=generator)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
@pytest.mark.parametrize("camids", [None, [0, 1, 2, 2, 0]])
def test_a_camera_or_none_counts_as_in_the_original(runtime: str, camids: list[int] | None) -> None:
    written = opened("vit-tiny", runtime=runtime)
    encoder = create_clip_encoder(VIT_WITH_CAMERAS)
    images = probes(encoder)
    cameras = None if camids is None else torch.tensor(camids)
    with torch.no_grad():
        wanted = encoder.encode_images(images, cameras).embedding()
    got = written.encode_images(images, cameras).embedding()
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_the_activation_is_exported_too(runtime: str, tmp_path: Path) -> None:
    require(runtime)
    encoder = create_clip_encoder(replace(VIT_WITH_CAMERAS, activation=Activation.GELU))
    place = ExportFolder(tmp_path / "gelu", runtime=runtime)
    Export(encoder=encoder, seed=1).run(place)
    for activation in Activation:
        request = replace(request_for(tmp_path / "gelu"), activation=activation)
        written = open_exported_encoder(request)
        assert written.description.options["activation"] == "gelu"
    images = probes(encoder)
    with torch.no_grad():
        wanted = encoder.encode_images(images).embedding()
    torch.testing.assert_close(
        written.encode_images(images).embedding(), wanted, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_the_pooling_is_exported_too(runtime: str, tmp_path: Path) -> None:
    require(runtime)
    encoder = create_clip_encoder(replace(RN, pooling=Pooling.GEM))
    place = ExportFolder(tmp_path / "gem", runtime=runtime)
    Export(encoder=encoder, seed=1).run(place)
    for pooling in Pooling:
        request = replace(request_for(tmp_path / "gem"), pooling=pooling)
        written = open_exported_encoder(request)
        assert written.description.options["pooling"] == "gem"
    images = probes(encoder)
    with torch.no_grad():
        wanted = encoder.encode_images(images)
    got = written.encode_images(images)
    torch.testing.assert_close(got.embedding(), wanted.embedding(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.penultimate, wanted.penultimate, rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_within_what_is_admitted() -> None:
    written = opened("rn-tiny", precision="bf16")
    encoder = create_clip_encoder(RN)
    images = probes(encoder)
    with torch.no_grad():
        wanted = encoder.encode_images(images).embedding()
    got = written.encode_images(images).embedding()
    assert got.dtype == torch.float32
    assert measure_error(wanted, got, mean=wanted.mean(dim=0)).angle < 1e-2


def test_the_description_says_where_it_comes_from_and_what_it_computes_in() -> None:
    description = opened("rn-tiny").description
    assert description.name == "rn-tiny"
    assert description.weights == "random (seed 0), exported for openvino in fp32"
    assert not description.is_pretrained
    assert opened("rn-tiny").device == torch.device("cpu")


def test_tracing_leaves_the_encoder_as_it_was() -> None:
    encoder = create_clip_encoder(replace(VIT_WITH_CAMERAS, stride=16))
    before = {name: value.clone() for name, value in encoder.image_tower.state_dict().items()}
    trace(encoder.image_tower, encoder.geometry)
    after = encoder.image_tower.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert all(parameter.requires_grad for parameter in encoder.image_tower.parameters())


def test_the_folder_says_all_that_the_encoder_is(folder: Path) -> None:
    header = read_export_header(folder)
    encoder = create_clip_encoder(RN)
    assert header.geometry == encoder.geometry
    assert header.description == encoder.description
    assert (header.runtime, header.precision) == ("openvino", "fp32")
    assert set(header.files) == {"encoder.xml", "encoder.bin"}
    content = json.loads((folder / HEADER_FILE).read_text())
    assert content["comparison"].keys() == {"batch of 1", "batch of 8", "max_error", "seed"}
    assert sorted(path.name for path in folder.iterdir()) == [
        "encoder.bin", "encoder.json", "encoder.xml",
    ]  # fmt: skip


def test_the_digest_tells_weights_apart(folder: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        place = ExportFolder(tmp_path / str(seed), runtime="openvino")
        Export(encoder=create_clip_encoder(replace(RN, seed=seed)), seed=1).run(place)
    digests = [read_export_header(tmp_path / str(seed)).tensors for seed in (0, 1)]
    assert digests[0] == read_export_header(folder).tensors
    assert digests[0] != digests[1]


def test_images_of_another_size_are_a_programmers_mistake() -> None:
    encoder = opened("vit-tiny")
    with pytest.raises(ValueError, match="48x32"):
        encoder.encode_images(torch.zeros(1, 3, 32, 48))
    with pytest.raises(ValueError, match="1 images, 2 camids"):
        encoder.encode_images(torch.zeros(1, 3, 48, 32), torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "vit-tiny"}, "kind rn-tiny, not vit-tiny"),
        ({"image_size": ImageSize(64, 32)}, "image size 48x32, not 64x32"),
        ({"stride": 12}, "stride 16, not 12"),
        ({"num_cameras": 2}, "number of cameras 0, not 2"),
        ({"precision": "bf16"}, "precision fp32, not bf16"),
        ({"activation": Activation.GELU}, "activation quick_gelu, not gelu"),
        ({"pooling": Pooling.GEM}, "pooling average, not gem"),
    ],
)
def test_what_the_export_fixed_cannot_be_asked_for_otherwise(
    folder: Path, change: dict[str, object], words: str
) -> None:
    request = replace(request_for(folder), **change)  # type: ignore[arg-type]  # one of its fields
    with pytest.raises(EncoderError, match=words):
        open_exported_encoder(request)


def test_what_the_export_fixed_may_be_repeated(folder: Path) -> None:
    request = replace(request_for(folder), kind="rn-tiny", image_size=ImageSize(48, 32), stride=16)
    assert open_exported_encoder(request).description.name == "rn-tiny"


def test_options_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"encoder\.options"):
        open_exported_encoder(replace(request_for(folder), options={"depth": 3}))


@pytest.mark.parametrize("name", ["encoder.xml", "encoder.bin"])
@pytest.mark.parametrize("fault", ["missing", "changed"])
def test_a_damaged_file_is_named(own_folder: Path, name: str, fault: str) -> None:
    if fault == "missing":
        (own_folder / name).unlink()
    else:
        (own_folder / name).write_bytes((own_folder / name).read_bytes()[:-1])
    with pytest.raises(EncoderError, match=rf"{name} is missing or not the file"):
        open_exported_encoder(request_for(own_folder))


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}', "{}"])
def test_a_damaged_header_is_named(own_folder: Path, content: str) -> None:
    (own_folder / HEADER_FILE).write_text(content)
    with pytest.raises(EncoderError, match=r"encoder\.json cannot be read"):
        open_exported_encoder(request_for(own_folder))


def test_an_unknown_runtime_is_named(own_folder: Path) -> None:
    header = json.loads((own_folder / HEADER_FILE).read_text())
    (own_folder / HEADER_FILE).write_text(json.dumps(header | {"runtime": "abacus"}))
    with pytest.raises(EncoderError, match="'abacus'"):
        open_exported_encoder(request_for(own_folder))


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_an_absent_runtime_is_a_line_of_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    forget(monkeypatch, runtime)
    for package in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    place = ExportFolder(tmp_path / "out", runtime=runtime)
    with pytest.raises(ConfigurationError, match=rf"pip install 'clip-reid\[{runtime}\]'") as error:
        Export(encoder=create_clip_encoder(RN), seed=1).run(place)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_opening_without_the_runtime_is_a_line_of_advice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget(monkeypatch, "openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'clip-reid\[openvino\]'"):
        open_exported_encoder(request_for(folder))


def test_bfloat16_is_not_for_onnx(tmp_path: Path) -> None:
    place = ExportFolder(tmp_path / "out", runtime="onnx", precision="bf16")
    with (
        pytest.raises(ConfigurationError, match="fp32"),
        place.write(create_clip_encoder(RN)),
    ):
        pass


def test_only_built_in_encoders_are_exported(tmp_path: Path) -> None:
    with (
        pytest.raises(EncoderError, match="fake cannot be exported"),
        ExportFolder(tmp_path / "out", runtime="openvino").write(FakeEncoder()),
    ):
        pass


def test_a_deviating_export_leaves_nothing_on_disk(tmp_path: Path) -> None:
    require("openvino")
    place = ExportFolder(tmp_path / "out", runtime="openvino", precision="bf16")
    with pytest.raises(EncoderError, match="nothing was kept"):
        Export(encoder=create_clip_encoder(RN), seed=1).run(place, max_error=0.0)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_only_if_that_is_wanted(own_folder: Path) -> None:
    export = Export(encoder=create_clip_encoder(replace(RN, seed=7)), seed=1)
    before = read_export_header(own_folder)
    with pytest.raises(EncoderError, match="overwrite it"):
        export.run(ExportFolder(own_folder, runtime="openvino"))
    assert read_export_header(own_folder) == before
    export.run(ExportFolder(own_folder, runtime="openvino", overwrite=True))
    assert read_export_header(own_folder).tensors != before.tensors
    assert [path.name for path in own_folder.parent.iterdir()] == [own_folder.name]


def test_another_folder_or_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for taken in (tmp_path, tmp_path / "notes.txt"):
        place = ExportFolder(taken, runtime="openvino", overwrite=True)
        with (
            pytest.raises(EncoderError, match="is no exported encoder"),
            place.write(create_clip_encoder(RN)),
        ):
            pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    place = ExportFolder(tmp_path / "file" / "out", runtime="openvino")
    with (
        pytest.raises(EncoderError, match="cannot be written"),
        place.write(create_clip_encoder(RN)),
    ):
        pass


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_a_disk_that_fills_while_an_encoder_is_exported_leaves_nothing(
    small_disk: Callable[[str], Path], runtime: str
) -> None:
    require(runtime)
    disk = small_disk("size=64k")
    place = ExportFolder(disk / "out", runtime=runtime)
    with pytest.raises(EncoderError, match=r"out cannot be written: .*; free some space"):
        Export(encoder=create_clip_encoder(RN), seed=1).run(place)
    assert list(disk.iterdir()) == []


def test_an_export_that_cannot_take_its_place_leaves_the_one_before(
    own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in own_folder.iterdir()}
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if Path(target) == own_folder and path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    export = Export(encoder=create_clip_encoder(replace(RN, seed=7)), seed=1)
    with pytest.raises(EncoderError, match="Input/output error; free some space"):
        export.run(ExportFolder(own_folder, runtime="openvino", overwrite=True))
    assert {path.name: path.read_bytes() for path in own_folder.iterdir()} == before
    assert [path.name for path in own_folder.parent.iterdir()] == [own_folder.name]


def test_an_exported_encoder_is_told_by_its_folder(folder: Path, tmp_path: Path) -> None:
    assert is_exported(folder)
    assert not is_exported(tmp_path)
    assert not is_exported(folder / HEADER_FILE)
    encoder = create_image_encoder(request_for(folder))
    with pytest.raises(EncoderError, match="describes images only"):
        require_trainable(encoder)
    trainable = create_encoder(RN)
    assert require_trainable(trainable) is trainable


def test_using_an_export_loads_neither_open_clip_nor_openvino_s_telemetry(folder: Path) -> None:
    code = (
        "import sys\n"
        "from reid.adapters.encoders.exported import open_exported_encoder\n"
        "from reid.domain.values.encoders import EncoderRequest\n"
        "open_exported_encoder(EncoderRequest(kind=None, weights=sys.argv[1]))\n"
        "print([m for m in ('open_clip', 'openvino_telemetry') if sys.modules.get(m)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


_SIGNAL_AFTER_ENCODERS = """
import gc, signal, sys
from reid.adapters.encoders.exported import open_exported_encoder
from reid.domain.values.encoders import EncoderRequest

request = EncoderRequest(kind=None, weights=sys.argv[1])
first, second = open_exported_encoder(request), open_exported_encoder(request)
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
signal.raise_signal(signal.SIGUSR1)
"""


def test_signals_are_heard_when_encoders_have_gone_in_any_order(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SIGNAL_AFTER_ENCODERS, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr
