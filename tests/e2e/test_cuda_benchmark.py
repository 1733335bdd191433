"""The benchmark for CUDA devices: its path, on the device that every machine has."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.cuda import QUICK, main


def test_it_says_that_there_is_no_device(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 2
    assert "no CUDA device on this machine" in capsys.readouterr().err


def test_full_sizes_are_refused_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["--device", "cpu"])
    assert exit_.value.code == 2
    assert "--quick" in capsys.readouterr().err


def test_both_stages_are_measured_through_the_services(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    assert main(["--device", "cpu", "--quick", "--json", str(path)]) == 0
    results = json.loads(path.read_text())
    assert results["images"] == QUICK.images
    assert results["machine"]["measured on"] == "cpu"
    assert results["bf16_matrix_tflops"] > 0
    assert [figure["kind"] for figure in results["figures"]] == list(QUICK.kinds)
    for figure in results["figures"]:
        assert figure["precision"] == "fp32"
        assert figure["prompt_epochs"] == QUICK.prompt_epochs
        assert 0 < figure["features_seconds"] < figure["prompts_seconds"]
        assert 0 < figure["prompt_epoch_seconds"] < figure["prompts_seconds"]
        assert figure["images_per_second"] > 0
        assert figure["matrix_rate_share"] is None
        assert figure["peak_mib"] is None
