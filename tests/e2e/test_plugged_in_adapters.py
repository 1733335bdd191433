"""Adapters of another distribution do the whole job, chosen by their names alone."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid.adapters.safetensors_file import read_header
from tests.adapters.plugin_distributions import write_distribution
from tests.e2e.program import as_json, run, train

SOURCE = '''
"""An encoder, a dataset, an index and a loss, as another package would offer them."""
from reid.domain.values.samples import ImageSize
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.vector_index import FakeIndex


def encoder(request):
    height, width = request.options.get("image_size", [16, 8])
    return FakeEncoder(name="small-encoder", seed=request.seed, image_size=ImageSize(height, width))


def dataset(root, identities=4):
    return FakeDataset(identities=int(identities))


def index():
    return FakeIndex(is_exact=False, recall=0.875)


def loss():
    return lambda features, labels: features.square().mean()
'''

OFFERS = {
    "reid.encoders": {"small-encoder": "reid_annex:encoder", "misnamed": "reid_annex:encoder"},
    "reid.datasets": {"colours": "reid_annex:dataset"},
    "reid.indexes": {"forgetful": "reid_annex:index"},
    "reid.losses": {"energy": "reid_annex:loss"},
}


@pytest.fixture(autouse=True)
def annex(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_distribution(tmp_path, name="reid_annex", source=SOURCE, offers=OFFERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("reid_annex", None)


def test_a_run_is_trained_and_evaluated_with_them(tmp_path: Path) -> None:
    directory, nowhere = tmp_path / "run", tmp_path / "unused"
    arguments = ("--dataset", "colours", "--set", "dataset.options.identities=6")
    train(
        nowhere, directory, "--encoder", "small-encoder", *arguments,
        "--set", "encoder.options.image_size=[8, 8]", "--index", "forgetful",
        "--set", "finetuning.losses.energy=0.5",
    )  # fmt: skip
    trained = read_header(directory / "encoder.safetensors")["losses"]
    assert isinstance(trained, dict)
    assert trained.keys() == {"identity", "triplet", "i2tce", "energy", "total"}
    # The checkpoint says which encoder it is and how it was built, so nobody needs to repeat it.
    outcome = as_json(
        run("evaluate", "--run", directory, "--data", nowhere, *arguments, "--index", "forgetful",
            "--json")
    )  # fmt: skip
    assert outcome["encoder"]["name"] == "small-encoder"
    assert outcome["encoder"]["options"] == {"image_size": [8, 8], "num_cameras": 0}
    assert outcome["report"]["index_recall"] == 0.875
    refused = run(
        "evaluate", "--run", directory, "--data", nowhere, *arguments, "--encoder", "rn50",
        expect=5,
    )  # fmt: skip
    assert "small-encoder" in refused.stderr
    assert "rn50" in refused.stderr


def test_an_adapter_that_nobody_offers_is_named_beside_those_that_are(tmp_path: Path) -> None:
    refused = run("evaluate", "--weights", "random", "--encoder", "large-encoder", "--data",
                  tmp_path, "--dataset", "colours", expect=3)  # fmt: skip
    assert "large-encoder" in refused.stderr
    assert "small-encoder" in refused.stderr


def test_an_encoder_must_call_itself_what_its_entry_point_does(tmp_path: Path) -> None:
    refused = run("evaluate", "--weights", "random", "--encoder", "misnamed", "--data", tmp_path,
                  "--dataset", "colours", expect=3)  # fmt: skip
    assert "misnamed" in refused.stderr
    assert "small-encoder" in refused.stderr
