"""Exports in int8 on fakes: compared on real images, and judged by scores where there are any."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from reid.application.export import MAX_DEVIATION, Export
from reid.domain.errors import DatasetError, EncoderError
from reid.domain.services.image_sample import ImageSample
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Split
from reid.ports.image_encoder import ImageEncoder
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.export_place import FakeExportPlace, SkewedEncoder


def sample_of(dataset: FakeDataset, *, count: int = 6, seed: int = 0) -> ImageSample:
    names = [sample.name for sample in dataset.samples(Split.TRAIN)]
    return ImageSample(reader=dataset, names=names, origin="fake", count=count, seed=seed)


def turned(features: Tensor) -> Tensor:
    return features.flip(1)


def rounded(features: Tensor) -> Tensor:
    return features + 0.02 * features.abs().max() * torch.ones_like(features).cumsum(1).sin()


def scores(*, before: float, after: float) -> Callable[[ImageEncoder], EvaluationReport]:
    """Score an encoder by whether it is an export; Rank-1 is ten points above mAP."""

    def score(encoder: ImageEncoder) -> EvaluationReport:
        found = after if isinstance(encoder, SkewedEncoder) else before
        return EvaluationReport(
            cmc=(found + 0.1,),
            mean_average_precision=found,
            mean_inverse_negative_penalty=found,
            num_queries=1,
            num_valid_queries=1,
            num_gallery=1,
            is_same_camera_removed=True,
            is_exact=True,
            index_recall=1.0,
        )

    return score


def test_the_sample_depends_on_the_seed_alone_and_has_no_image_twice() -> None:
    dataset = FakeDataset(identities=20)
    sample = sample_of(dataset)
    assert sample == sample_of(dataset)
    assert sample.quantised_on == sample_of(dataset).quantised_on
    assert sample.quantised_on != sample_of(dataset, seed=1).quantised_on
    assert len(sample.quantised_on) == 6
    assert len(sample.compared) == len(sample.names) // 5
    together = [*sample.quantised_on, *sample.compared]
    assert len(set(together)) == len(together)
    assert set(together) <= set(sample.names)
    record = sample.record()
    assert (record["images"], record["of"], record["seed"]) == (6, len(sample.names), 0)


def test_a_list_of_a_few_images_is_refused() -> None:
    with pytest.raises(DatasetError, match="fake lists 2 images, too few"):
        ImageSample(reader=FakeDataset(), names=["a", "b"], origin="fake", count=300, seed=0)


def test_without_a_dataset_the_angle_on_real_images_decides() -> None:
    dataset = FakeDataset(identities=20)
    export = Export(encoder=FakeEncoder(), seed=3, sample=sample_of(dataset))
    place = FakeExportPlace(precision="int8", skew=rounded)
    outcome = export.run(place)
    assert outcome.scores is None
    assert outcome.max_error == MAX_DEVIATION["int8"]
    assert 1e-6 < outcome.deviations[1].angle <= MAX_DEVIATION["int8"]
    refused = FakeExportPlace(precision="int8", skew=turned)
    with pytest.raises(EncoderError, match="nothing was kept"):
        export.run(refused)
    assert refused.kept is None


@pytest.mark.parametrize(("after", "is_kept"), [(0.7, True), (0.6951, True), (0.6949, False)])
def test_with_a_dataset_lost_points_decide(after: float, is_kept: bool) -> None:  # noqa: FBT001
    export = Export(encoder=FakeEncoder(), seed=3, score=scores(before=0.7, after=after))
    place = FakeExportPlace(precision="int8", skew=turned)
    if not is_kept:
        with pytest.raises(EncoderError, match=r"scores mAP 69\.49 .* before 70\.00"):
            export.run(place)
        assert place.kept is None
        return
    outcome = export.run(place)
    assert outcome.max_error is None
    assert outcome.scores is not None
    assert outcome.scores.worst == pytest.approx(100 * (0.7 - after), abs=1e-9)
    assert place.kept is not None
    assert place.kept["scores"]["max_loss"] == 0.5  # type: ignore[call-overload, index]


def test_an_angle_that_is_asked_for_holds_beside_the_scores() -> None:
    export = Export(encoder=FakeEncoder(), seed=3, score=scores(before=0.7, after=0.7))
    with pytest.raises(EncoderError, match="more than"):
        export.run(FakeExportPlace(precision="int8", skew=turned), max_error=1e-3)
