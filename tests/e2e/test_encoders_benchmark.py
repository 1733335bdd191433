"""The benchmark of small encoders, at a small size; rates are nobody's business here."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.encoders import MODELS_ROOT, Figures, main, render
from tests.exports import require
from tests.graphs import draw_ir

OSNET = """
from torch import nn

def osnet_x0_25(num_classes, pretrained):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 8))
"""


def test_all_that_is_there_is_measured_side_by_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require("openvino")
    (tmp_path / "omz").mkdir()
    draw_ir(tmp_path / "omz" / "person-reidentification-retail-0277.xml", size=(64, 32))
    monkeypatch.setenv(MODELS_ROOT, str(tmp_path))
    package = tmp_path / "torchreid" / "reid" / "models"
    package.mkdir(parents=True)
    (tmp_path / "torchreid" / "__init__.py").write_text("import package_that_nobody_has")
    (package / "osnet.py").write_text(OSNET)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "figures.json"
    assert main(["--quick", "--weights", "random", "--json", str(path)]) == 0
    figures = json.loads(path.read_text())["figures"]
    ours = "timm:test_efficientnet, random (seed 0)"
    quantised = [(ours, "OpenVINO int8")] if find_spec("nncf") else []
    assert [(one["encoder"], one["way"]) for one in figures] == [
        (ours, "torch fp32"),
        (ours, "OpenVINO fp32"),
        *quantised,
        ("person-reidentification-retail-0277.xml", "OpenVINO fp32"),
        ("OSNet x0.25, random", "torch fp32"),
        ("OSNet x0.25, random", "OpenVINO fp32"),
    ]
    for one in figures:
        assert one["images_per_second"] > 0
        assert one["images_per_wall_second"] > 0
        assert (one["angle"] is None) == (one["encoder"].endswith("xml") or "torch" in one["way"])
        if one["way"] == "OpenVINO fp32" and one["angle"] is not None:
            assert one["is_near"]
    assert figures[-1]["parameters"] == 3 * 8 + 8
    assert 9 <= next(one["parameters"] for one in figures if one["encoder"].endswith("xml")) < 20
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == len(figures) + 2
    assert "random weights" in output.err


def test_what_is_left_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(MODELS_ROOT, raising=False)
    monkeypatch.setattr("benchmarks.encoders.find_spec", lambda _: None)
    path = tmp_path / "figures.json"
    assert main(["--quick", "--weights", "random", "--json", str(path)]) == 0
    assert [one["way"] for one in json.loads(path.read_text())["figures"]] == ["torch fp32"]
    said = capsys.readouterr().err
    for missing in (MODELS_ROOT, "openvino is not installed", "torchreid is not installed"):
        assert missing in said


def test_weights_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--weights", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err


def test_an_angle_beyond_the_limit_is_marked() -> None:
    found = Figures(
        encoder="drawn",
        way="OpenVINO int8",
        parameters=3_000_000,
        images_per_second=12.34,
        images_per_wall_second=1.0,
        angle=0.2,
        is_near=False,
    )
    row = "| drawn | OpenVINO int8 | 3.00 M | 12.3 | 2.0e-01, beyond what `reid export` accepts |"
    assert render([found]).splitlines()[-1] == row


def test_help_says_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("--weights", "--images", MODELS_ROOT, "torchreid"):
        assert word in text
