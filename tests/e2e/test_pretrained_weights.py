"""Weights in OpenAI's layout, from the file to an answer, through the real commands.

The weights are the golden ones, for which the paper's own code told every feature. Small
architectures stand in for OpenAI's where a training is followed closely; the command of the README
runs once with a whole ViT-B/16.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reid.adapters.encoders import clip
from reid.adapters.encoders.clip import create_clip_encoder
from reid.adapters.encoders.openai_weights import download_openai_weights
from reid.adapters.safetensors_file import read_checkpoint
from reid.domain.values.encoders import EncoderRequest
from tests.e2e.program import as_json, draw_people, run
from tests.golden.loading import KINDS, GoldenCase, golden_clip_state, load_golden

README = (Path(__file__).parents[2] / "README.md").read_text()
RECIPE_OF = {"vit_tiny": "vit-b16", "rn_tiny": "rn50"}
SHORT = {
    "prompts.epochs": "1",
    "prompts.batch_size": "4",
    "finetuning.epochs": "1",
    "finetuning.warmup_epochs": "0",
    "finetuning.milestones": "[]",
    "finetuning.identities_per_batch": "2",
    "finetuning.images_per_identity": "2",
}
"""A step or two of each stage; nothing else of the recipe is changed."""

STILL = {**SHORT, "finetuning.learning_rate": "1e-300"}
"""No step is as large as the last bit of any weight, so that a run ends where it began."""


@dataclass(frozen=True)
class OpenAiFile:
    """A user's file of weights, and what the paper's code says of them."""

    case: GoldenCase
    path: Path

    @property
    def recipe(self) -> str:
        return RECIPE_OF[self.case.arch]

    @property
    def kind(self) -> str:
        return KINDS[self.case.arch]

    def train(self, data: Path, directory: Path, settings: Mapping[str, str]) -> str:
        changed = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        return run(
            "train", "--stage", "all", "--recipe", self.recipe, "--encoder", self.kind,
            "--weights", self.path, "--data", data, "--run", directory, *changed,
        ).stdout  # fmt: skip


def write_openai_state_dict(arch: str, path: Path) -> Path:
    """Write as OpenAI's code saves a model: half precision but for norms and embeddings."""
    tensors = {name: torch.from_numpy(value) for name, value in golden_clip_state(arch).items()}
    halves = {
        name: value.half()
        if value.is_floating_point() and torch.equal(value.half().float(), value)
        else value
        for name, value in tensors.items()
    }
    torch.save(halves, path)
    return path


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "people"
    return draw_people(folder, identities=2, test_identities=2, images=2, distractors=0)


@pytest.fixture(scope="module", params=list(RECIPE_OF))
def weights(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenAiFile:
    arch: str = request.param
    path = tmp_path_factory.mktemp("weights") / f"CLIP-{arch}.pt"
    return OpenAiFile(load_golden(arch), write_openai_state_dict(arch, path))


@pytest.fixture(scope="module")
def still(weights: OpenAiFile, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("still") / "run"
    weights.train(few, directory, STILL)
    return directory


@pytest.fixture(scope="module")
def finished(weights: OpenAiFile, few: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("finished") / "run"
    weights.train(few, directory, SHORT)
    return directory


def is_statistic(name: str) -> bool:
    """Whether batch normalisation follows the images with it, at any learning rate."""
    return name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}


def golden_image_weights(case: GoldenCase) -> dict[str, Tensor]:
    """The image tower's tensors under the names of a run's file, position embeddings aside."""
    return {
        f"image_encoder.{name.removeprefix('visual.')}": torch.from_numpy(value)
        for name, value in golden_clip_state(case.arch).items()
        if name.startswith("visual.") and "positional_embedding" not in name
    }


def test_training_starts_from_the_very_weights_of_the_file(
    weights: OpenAiFile, still: Path
) -> None:
    ended = read_checkpoint(still / "encoder.safetensors").tensors
    golden = golden_image_weights(weights.case)
    learned = {name for name in golden if not is_statistic(name)}
    assert len(learned) > 50
    assert [name for name in sorted(learned) if not torch.equal(ended[name], golden[name])] == []


def test_the_encoder_that_training_starts_from_describes_as_the_papers_code(
    weights: OpenAiFile, still: Path
) -> None:
    encoder = create_clip_encoder(
        EncoderRequest(kind=None, weights=str(still / "encoder.safetensors"))
    )
    golden = golden_image_weights(weights.case)
    statistics = {name: value for name, value in golden.items() if is_statistic(name)}
    encoder.load_state({**encoder.state(), **statistics})
    with torch.no_grad():
        embedding = encoder.encode_images(weights.case.images()).embedding()
    expected = weights.case.tensor("eval_desc_before")
    typical = float(expected.square().mean().sqrt())
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-4 * typical)


# Not a ResNet's: its batch statistics follow the images, so that its scores are others.
@pytest.mark.parametrize("weights", ["vit_tiny"], indirect=True)
def test_a_training_that_stands_still_scores_as_the_file_does(
    weights: OpenAiFile, still: Path, few: Path
) -> None:
    untrained = as_json(run("evaluate", "--weights", weights.path, "--data", few, "--json"))
    assert untrained["report"] == json.loads((still / "evaluation.json").read_text())["report"]


def test_a_run_says_that_it_began_with_pretrained_weights(
    weights: OpenAiFile, finished: Path, few: Path, tmp_path: Path
) -> None:
    fingerprint = json.loads((finished / "run.json").read_text())["fingerprint"]
    assert fingerprint["encoder.weights"] == str(weights.path)
    recorded = json.loads((finished / "evaluation.json").read_text())["encoder"]
    assert recorded["weights"] == f"trained from {weights.path.name}"
    assert recorded["is_pretrained"]
    prompts = read_checkpoint(finished / "prompts.safetensors").header
    assert prompts["weights"] == weights.path.name
    text = run("evaluate", "--run", finished, "--data", few, "--no-record").stdout
    (line,) = [line for line in text.splitlines() if line.startswith("Encoder: ")]
    assert weights.path.name in line
    assert not re.search("random|not pretrained", line)
    run("report", finished, "--page", tmp_path / "results.md")
    row = f"| run | {weights.recipe} * | {weights.kind}, 128x64 | checkpoint {weights.path.name} |"
    assert row in (tmp_path / "results.md").read_text()


def test_training_moves_the_weights_and_the_run_answers_with_them(
    weights: OpenAiFile, finished: Path, few: Path
) -> None:
    ended = read_checkpoint(finished / "encoder.safetensors").tensors
    golden = golden_image_weights(weights.case)
    learned = [name for name in golden if not is_statistic(name)]
    assert not any(torch.equal(ended[name], golden[name]) for name in learned)
    again = as_json(run("evaluate", "--run", finished, "--data", few, "--json"))
    assert again["report"] == json.loads((finished / "evaluation.json").read_text())["report"]
    people = identify(few, "--run", finished)
    assert [len(answer["images"]) for answer in people] == [2] * 4
    assert people != identify(few, "--weights", weights.path)


def identify(data: Path, *encoder: str | Path) -> list[dict[str, Any]]:
    outcome = as_json(
        run(
            "identify", data / "query", "--gallery", data / "bounding_box_test", *encoder,
            "--top-k", "2", "--json",
        )
    )  # fmt: skip
    found: list[dict[str, Any]] = outcome["identifications"]
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A whole ViT-B/16, as the downloader would leave it on the disk."""
    path = tmp_path_factory.mktemp("cache") / "ViT-B-16.pt"
    yield write_openai_state_dict("vit_b16", path)
    path.unlink()
    golden_clip_state.cache_clear()


def downloader_of(path: Path, asked: list[str]) -> Callable[..., str]:
    def fetch(config: Mapping[str, Any], *, prefer_hf_hub: bool) -> str:
        assert not prefer_hf_hub
        asked.append(config["url"])
        return str(path)

    return fetch


def test_the_one_command_of_the_readme_trains_openais_weights(
    published: Path, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = re.findall(r"^    reid (train .* --recipe vit-b16 .*)$", README, flags=re.MULTILINE)
    asked: list[str] = []
    fetching = partial(download_openai_weights, fetch=downloader_of(published, asked))
    monkeypatch.setattr(clip, "download_openai_weights", fetching)
    monkeypatch.chdir(tmp_path)
    (tmp_path / shlex.split(line)[shlex.split(line).index("--data") + 1]).symlink_to(few)
    for key, value in STILL.items():
        monkeypatch.setenv(f"REID_{key.upper().replace('.', '__')}", value)
    text = run(*shlex.split(line)).stdout
    assert [url.rpartition("/")[2] for url in asked] == ["ViT-B-16.pt"]
    assert "Encoder: vit-b16 (256x128, stride 16), weights: trained from openai" in text
    assert "not pretrained" not in text
    directory = tmp_path / "runs" / "market"
    ended = read_checkpoint(directory / "encoder.safetensors").tensors
    golden = golden_image_weights(load_golden("vit_b16"))
    assert [name for name in golden if not torch.equal(ended[name], golden[name])] == []
    page = tmp_path / "results.md"
    run("report", directory, "--page", page)
    assert "| OpenAI CLIP |" in page.read_text()
