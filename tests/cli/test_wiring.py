"""What is said before any work begins."""

import pytest

from reid.adapters.devices import Bf16Speed
from reid.container.program import wired
from reid.settings.loading import load_settings

FAST, SLOW = Bf16Speed(0.3, 0.6), Bf16Speed(8.3, 9.61)


@pytest.mark.parametrize(
    ("options", "speed", "warned"),
    [
        ({"encoder.precision": "bf16"}, SLOW, "Warning: encoder.precision: "),
        ({"encoder.training_precision": "bf16"}, SLOW, "Warning: encoder.training_precision: "),
        ({"encoder.precision": "bf16"}, FAST, ""),
        ({}, SLOW, ""),
    ],
)
def test_bf16_is_warned_of_where_the_processor_only_imitates_it(
    options: dict[str, str],
    speed: Bf16Speed,
    warned: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("reid.adapters.devices.measure_bf16", lambda: speed)
    settings = load_settings(options={"device": "cpu", **options}).settings
    with wired(settings):
        said = capsys.readouterr().err
    assert said.startswith(warned)
    assert len(said.splitlines()) == bool(warned)
    if warned:
        assert (
            "bf16 takes 8.3 times as long as fp32 in matrix products, 9.6 times in convolutions on "
            "this processor"
        ) in said
