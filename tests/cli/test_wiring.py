"""What is said before any work begins."""

import pytest

from reid.container.program import wired
from reid.settings.loading import load_settings


@pytest.mark.parametrize(
    ("options", "fastest", "warned"),
    [
        ({"encoder.precision": "bf16"}, "fp32", "Warning: encoder.precision: "),
        ({"encoder.training_precision": "bf16"}, "fp32", "Warning: encoder.training_precision: "),
        ({"encoder.precision": "bf16"}, "bf16", ""),
        ({}, "fp32", ""),
    ],
)
def test_bf16_is_warned_of_where_the_processor_only_imitates_it(
    options: dict[str, str],
    fastest: str,
    warned: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("reid.adapters.surroundings.lacks_bf16", lambda: fastest == "fp32")
    settings = load_settings(options={"device": "cpu", **options}).settings
    with wired(settings):
        said = capsys.readouterr().err
    assert said.startswith(warned)
    assert len(said.splitlines()) == bool(warned)
