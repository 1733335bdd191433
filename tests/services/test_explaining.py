"""Explanations on fakes."""

from dataclasses import replace

import pytest
import torch

from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.services.explaining import SHOWN_HEIGHT, PairExplainer
from reid.domain.values.explanations import DeletionCheck, Explanation, ExplanationMethod
from reid.domain.values.samples import ImageSize, ListedImage
from tests.fakes.dataset import FakeImageSource
from tests.fakes.explanation import FakeExplainableEncoder

QUERY = ListedImage("q/a", "anna", "1")
GALLERY = ListedImage("g/a", "anna", "3")
SIZE = ImageSize(32, 16)


def explain(
    query: ListedImage = QUERY,
    gallery: ListedImage = GALLERY,
    *,
    num_cameras: int = 0,
    method: ExplanationMethod | None = None,
    uses_cameras: bool = True,
) -> Explanation:
    explainer = PairExplainer(
        encoder=FakeExplainableEncoder(num_cameras=num_cameras, image_size=SIZE),
        method=method,
        uses_cameras=uses_cameras,
    )
    return explainer.explain(FakeImageSource([query]), FakeImageSource([gallery]))


def test_the_similarity_is_the_cosine_of_the_embeddings() -> None:
    shown = explain()
    assert -1 <= shown.similarity <= 1
    assert (shown.query.image, shown.gallery.image) == (QUERY, GALLERY)


def test_weights_lie_on_the_encoders_pixels_and_reach_from_zero_to_one() -> None:
    explained = explain(ListedImage("q/a", "anna"), ListedImage("g/b", "bert"))
    for part in (explained.query, explained.gallery):
        assert part.weights.shape == (SIZE.height, SIZE.width)
        assert part.weights.dtype == torch.float32
        assert part.weights.min() >= 0
        assert part.weights.max() in (0, 1)


def test_images_are_shown_at_a_multiple_of_the_encoders_size() -> None:
    scale = SHOWN_HEIGHT // SIZE.height
    assert explain().query.pixels.shape == (3, scale * SIZE.height, scale * SIZE.width)


def test_the_same_seed_gives_the_same_check() -> None:
    first, again = explain(), explain()
    assert (first.query.check, first.gallery.check) == (again.query.check, again.gallery.check)


@pytest.mark.parametrize(
    ("query", "gallery", "uses_cameras", "are_used"),
    [
        (QUERY, GALLERY, True, True),
        (QUERY, GALLERY, False, False),
        (QUERY, replace(GALLERY, camera="9"), True, False),
        (replace(QUERY, camera=None), GALLERY, True, False),
    ],
)
def test_cameras_are_used_where_the_encoder_knows_both(
    query: ListedImage, gallery: ListedImage, *, uses_cameras: bool, are_used: bool
) -> None:
    outcome = explain(query, gallery, num_cameras=3, uses_cameras=uses_cameras)
    assert outcome.are_cameras_used == are_used


@pytest.mark.parametrize("method", [ExplanationMethod.ROLLOUT, ExplanationMethod.GRADIENT_ROLLOUT])
def test_a_method_that_needs_attention_is_refused_without(method: ExplanationMethod) -> None:
    with pytest.raises(ConfigurationError, match=f"{method} does not suit .* grad-cam"):
        explain(method=method)


def test_several_images_on_one_side_are_refused() -> None:
    explainer = PairExplainer(encoder=FakeExplainableEncoder())
    several = FakeImageSource([QUERY, GALLERY])
    with pytest.raises(DatasetError, match="one gallery image, but 2 were given, from g/a on"):
        explainer.explain(FakeImageSource([QUERY]), several)


def test_a_damaged_image_is_named() -> None:
    explainer = PairExplainer(encoder=FakeExplainableEncoder())
    damaged = FakeImageSource([QUERY], damaged={"q/a": "truncated"})
    with pytest.raises(DatasetError, match="q/a: truncated"):
        explainer.explain(damaged, FakeImageSource([GALLERY]))


def test_a_check_is_passed_where_the_marks_matter_most() -> None:
    check = DeletionCheck(share=0.2, most_marked=0.3, least_marked=0.8, random=0.5)
    assert check.is_passed
    assert not replace(check, random=0.2).is_passed
    assert not replace(check, least_marked=0.3).is_passed
