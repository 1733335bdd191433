"""Both towers against the official code's values, on its own weights and inputs.

Weights come in through a file, as a user's do.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from reid.adapters.encoders.image_tower import Grid, resize_positions
from reid.adapters.encoders.text_encoder import template_tokens
from reid.adapters.encoders.tower_encoder import TowerEncoder
from reid.domain.values.features import ImageFeatures
from tests.golden.loading import (
    BIG,
    FOLDER,
    KINDS,
    TINY,
    GoldenCase,
    build_golden_encoder,
    golden_clip_state,
    goldgen,
    load_golden,
)
from tests.text import text_of

TEMPLATE = "A photo of a {} person."
TOKEN_X = 343
SHUFFLED_LABELS = [7, 1, 1, 4]
RELATIVE = 1e-4
FEW = 2
"""Images that are also described without their cameras."""


@dataclass(frozen=True)
class Built:
    """A golden case and what our encoder says of its images, computed once."""

    case: GoldenCase
    encoder: TowerEncoder
    features: ImageFeatures
    projected_without_cameras: Tensor


@pytest.fixture(scope="module", params=[*TINY, *BIG])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    case = load_golden(request.param)
    encoder = build_golden_encoder(case, tmp_path_factory.mktemp("weights"))
    images = case.images()
    with torch.no_grad():
        features = encoder.encode_images(images, case.camids)
        without = encoder.encode_images(images[:FEW])
    yield Built(case, encoder, features, without.projected)
    if case.name == BIG[-1]:
        golden_clip_state.cache_clear()


def assert_matches(ours: Tensor, golden: Tensor) -> None:
    """Compare at 1e-4 of each value, or of the typical value where that is near 0."""
    typical = float(golden.square().mean().sqrt())
    torch.testing.assert_close(ours, golden, rtol=RELATIVE, atol=RELATIVE * typical)


def test_generated_weights_are_those_of_the_golden_file(built: Built) -> None:
    assert goldgen.sha(golden_clip_state(built.case.arch)) == built.case.meta["weights_sha256"]


def test_generated_images_are_those_of_the_golden_file(built: Built) -> None:
    digest = hashlib.sha256(built.case.images().numpy().tobytes()).hexdigest()
    assert digest == str(built.case.arrays["images_sha256"])


def test_the_kind_is_read_off_the_weights(built: Built) -> None:
    assert built.encoder.description.name == KINDS[built.case.arch]


def test_position_embeddings_are_resized_as_in_the_official_code(built: Built) -> None:
    state = built.encoder.state()
    (positions,) = (value for name, value in state.items() if name.endswith("positional_embedding"))
    assert list(positions.shape) == built.case.tensor("pos_embed_resized_shape").tolist()
    assert_matches(positions[:, :4], built.case.tensor("pos_embed_resized_head"))


def test_final_and_projected_features_agree(built: Built) -> None:
    embedding = built.features.embedding()
    assert_matches(embedding, built.case.tensor("eval_desc_before"))
    assert_matches(F.normalize(embedding), built.case.tensor("eval_desc_before_normed"))


def test_penultimate_features_agree(built: Built) -> None:
    assert_matches(built.features.penultimate, built.case.tensor("eval_last"))


def test_stage_1_sees_projected_features_without_cameras(built: Built) -> None:
    assert_matches(built.projected_without_cameras, built.case.tensor("eval_get_image")[:FEW])


def test_tokens_around_the_learned_ones_agree(built: Built) -> None:
    prefix, suffix = template_tokens(TEMPLATE)
    tokens = [*prefix, *[TOKEN_X] * 4, *suffix]
    official = built.case.tensor("tokens")[0].tolist()
    assert tokens == official[: len(tokens)]
    assert set(official[len(tokens) :]) == {0}
    assert len(prefix) == built.case.tensor("prefix_shape")[1]


def test_the_template_is_embedded_with_the_vocabulary_of_the_weights(built: Built) -> None:
    fixed = text_of(built.encoder).embed_template(TEMPLATE, num_context_tokens=4)
    prefix, suffix = template_tokens(TEMPLATE)
    vocabulary = golden_clip_state(built.case.arch)["token_embedding.weight"]
    assert torch.equal(fixed.prefix, torch.from_numpy(vocabulary[prefix]))
    assert torch.equal(fixed.suffix, torch.from_numpy(vocabulary[suffix]))


@pytest.mark.parametrize(
    ("labels", "key"),
    [(list(range(10)), "text_features"), (SHUFFLED_LABELS, "text_features_shuffled_labels")],
    ids=["all", "shuffled"],
)
def test_text_features_agree(built: Built, labels: list[int], key: str) -> None:
    fixed = text_of(built.encoder).embed_template(TEMPLATE, num_context_tokens=4)
    context = built.case.head_state()["prompt_learner.cls_ctx"][labels]  # (N, 4, D)
    prefix = fixed.prefix.expand(len(labels), -1, -1)
    suffix = fixed.suffix.expand(len(labels), -1, -1)
    with torch.no_grad():
        features = text_of(built.encoder).encode_prompts(
            torch.cat([prefix, context, suffix], dim=1)
        )
    assert_matches(features, built.case.tensor(key))


def test_parameters_come_in_the_order_of_the_official_code(built: Built) -> None:
    official = [str(name) for name in built.case.arrays["s2_grad_names"]]
    names = [name for name, _ in built.encoder.named_parameters()]
    assert names == [name for name in official if name.startswith(("cv_embed", "image_encoder."))]
    frozen = [str(name) for name in built.case.arrays["s2_frozen"]]
    text = [name for name, _ in text_of(built.encoder).named_parameters()]
    text.remove("text_encoder.token_embedding.weight")
    assert text == [name for name in frozen if name.startswith("text_encoder.")]


@pytest.mark.parametrize("grid", [Grid(16, 8), Grid(21, 10), Grid(8, 4)])
def test_the_position_resize_agrees_by_itself(grid: Grid) -> None:
    misc = load_misc()
    resized = resize_positions(misc["pe_in"], source=Grid(7, 7), target=grid)
    assert_matches(resized, misc[f"pe_{grid.height}x{grid.width}"])


def load_misc() -> dict[str, Tensor]:
    with np.load(FOLDER / "misc.npz", allow_pickle=False) as archive:
        return {
            key: torch.from_numpy(archive[key]) for key in archive.files if key.startswith("pe_")
        }
