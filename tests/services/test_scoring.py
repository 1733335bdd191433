"""Embedding and evaluation on fakes."""

import pytest
import torch

from reid.domain.errors import EncoderError, EvaluationError
from reid.domain.events import ImagesEmbedded
from reid.domain.services.embedding import Embedder
from reid.domain.services.scoring import APPROXIMATE_DEPTH, score_queries
from reid.domain.values.features import EmbeddingSet
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import EvaluationReport
from reid.domain.values.samples import Resampling, Sample, Split
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.vector_index import FakeIndex


def score(
    queries: EmbeddingSet,
    gallery: EmbeddingSet,
    index: FakeIndex | None = None,
    *,
    reranking: RerankingRecipe | None = None,
    remove_same_camera: bool = True,
) -> EvaluationReport:
    report, _ = score_queries(
        queries,
        gallery,
        index=index or FakeIndex(),
        reranking=reranking,
        remove_same_camera=remove_same_camera,
    )
    return report


def evaluate(
    dataset: FakeDataset, index: FakeIndex | None = None, *, remove_same_camera: bool = True
) -> EvaluationReport:
    embedder = Embedder(encoder=FakeEncoder(), listener=RecordingListener(), batch_size=3)
    queries, gallery = (
        embedder.embed_samples(dataset, dataset.samples(split), subset=split)
        for split in (Split.QUERY, Split.GALLERY)
    )
    return score(queries, gallery, index, remove_same_camera=remove_same_camera)


def unit(*rows: list[float]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


QUERIES = EmbeddingSet(unit([1.0, 0.1]), torch.tensor([1]), torch.tensor([0]))
RANKED = EmbeddingSet(
    vectors=unit([1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]),
    pids=torch.tensor([1, 2, 1, 1]),
    camids=torch.tensor([0, 1, 1, 1]),
)


def test_embeddings_are_unit_vectors_whatever_the_batch() -> None:
    dataset = FakeDataset()
    names = [sample.name for sample in dataset.samples(Split.GALLERY)]
    vectors = [
        Embedder(encoder=FakeEncoder(), listener=RecordingListener(), batch_size=size).embed(
            dataset, names, camids=None, subset="gallery"
        )
        for size in (1, 3, 64)
    ]
    torch.testing.assert_close(vectors[0].norm(dim=1), torch.ones(len(names)))
    assert vectors[0].shape == (len(names), FakeEncoder().geometry.embedding_width)
    torch.testing.assert_close(vectors[0], vectors[1])
    torch.testing.assert_close(vectors[0], vectors[2])


def test_embedding_tells_how_far_it_is() -> None:
    listener, dataset = RecordingListener(), FakeDataset()
    embedder = Embedder(encoder=FakeEncoder(), listener=listener, batch_size=4)
    embedder.embed_samples(dataset, dataset.samples(Split.QUERY), subset="query")
    assert listener.events == [ImagesEmbedded("query", done, 6) for done in (0, 4, 6)]


def test_cameras_reach_an_encoder_that_knows_them() -> None:
    dataset = FakeDataset()
    names = [sample.name for sample in dataset.samples(Split.QUERY)]
    embedder = Embedder(encoder=FakeEncoder(num_cameras=2), listener=RecordingListener())
    first, second = (
        embedder.embed(dataset, names, camids=torch.full((6,), camid), subset="query")
        for camid in (0, 1)
    )
    assert not torch.allclose(first, second)


def test_cameras_can_be_left_out_whatever_the_encoder_knows() -> None:
    dataset, encoder = FakeDataset(cameras=3), FakeEncoder(num_cameras=2)
    listener = RecordingListener()
    samples = dataset.samples(Split.QUERY)
    with pytest.raises(EncoderError):
        Embedder(encoder=encoder, listener=listener).embed_samples(dataset, samples, subset="query")
    blind = Embedder(encoder=encoder, listener=listener, uses_cameras=False)
    assert len(blind.embed_samples(dataset, samples, subset="query")) == len(samples)
    assert blind.num_cameras == 0


def test_scores_follow_the_protocol() -> None:
    report = score(QUERIES, RANKED)
    assert report.cmc == (0.0, 1.0, 1.0, 1.0)
    assert report.mean_average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert report.mean_inverse_negative_penalty == pytest.approx(2 / 3)
    assert (report.num_queries, report.num_valid_queries, report.num_gallery) == (1, 1, 4)
    assert report.is_exact
    assert report.is_same_camera_removed


def test_without_the_same_camera_rule_every_image_counts() -> None:
    report = score(QUERIES, RANKED, remove_same_camera=False)
    assert report.rank(1) == 1.0
    assert not report.is_same_camera_removed


def test_re_ranking_is_exact_and_leaves_the_index_alone() -> None:
    index = FakeIndex(is_exact=False, recall=0.5)
    recipe = RerankingRecipe(k1=2, k2=1)
    report = score(QUERIES, RANKED, index, reranking=recipe)
    assert index.num_builds == 0
    assert report.is_exact
    assert report.index_recall == 1.0
    assert report.reranking == recipe


def test_an_approximate_index_marks_the_report() -> None:
    index = FakeIndex(is_exact=False, recall=0.9, num_found=2)
    report = score(QUERIES, RANKED, index)
    assert not report.is_exact
    assert report.index_recall == 0.9
    assert report.mean_average_precision == pytest.approx(0.0)


def test_an_approximate_index_is_asked_for_a_bounded_number_of_answers() -> None:
    size = APPROXIMATE_DEPTH + 5
    gallery = EmbeddingSet(
        torch.nn.functional.normalize(torch.randn(size, 2), dim=1),
        torch.ones(size, dtype=torch.int64),
        torch.ones(size, dtype=torch.int64),
    )
    index = FakeIndex(is_exact=False)
    score(QUERIES, gallery, index)
    assert index.asked == [(1, APPROXIMATE_DEPTH)]


def test_an_exact_index_is_not_asked_for_an_order_that_is_known_without_it() -> None:
    index = FakeIndex()
    report = score(QUERIES, RANKED, index)
    assert index.asked == []
    assert report.is_exact
    assert report.index_recall == 1.0


def test_an_index_that_finds_everything_scores_like_an_exact_one() -> None:
    dataset = FakeDataset(test_identities=3, cameras=2)
    exact, approximate = evaluate(dataset), evaluate(dataset, FakeIndex(is_exact=False))
    assert exact.cmc == approximate.cmc
    assert exact.mean_average_precision == pytest.approx(approximate.mean_average_precision)


def test_many_queries_are_ranked_in_chunks_with_the_same_result() -> None:
    queries = EmbeddingSet(
        QUERIES.vectors.repeat(600, 1), QUERIES.pids.repeat(600), QUERIES.camids.repeat(600)
    )
    index = FakeIndex(is_exact=False)
    many, one = score(queries, RANKED, index), score(QUERIES, RANKED)
    assert len(index.asked) == 3
    assert (many.num_queries, many.num_valid_queries) == (600, 600)
    assert many.cmc == one.cmc
    assert many.mean_average_precision == pytest.approx(one.mean_average_precision)


def test_a_dataset_is_evaluated_from_its_images() -> None:
    dataset = FakeDataset(test_identities=3, cameras=2)
    report = evaluate(dataset)
    assert dataset.resamplings == {Resampling.BILINEAR}
    assert report.num_queries == report.num_valid_queries == 6
    assert report.num_gallery == 7
    assert report.rank(5) > 0.5


def test_images_are_resized_as_the_encoder_wants_it() -> None:
    encoder = FakeEncoder(resampling=Resampling.BICUBIC)
    embedder = Embedder(encoder=encoder, listener=RecordingListener())
    dataset = FakeDataset(test_identities=3, cameras=2)
    embedder.embed_samples(dataset, dataset.samples(Split.QUERY), subset=Split.QUERY)
    assert dataset.resamplings == {Resampling.BICUBIC}


def test_a_single_camera_is_explained_with_the_way_out() -> None:
    dataset = FakeDataset(cameras=1)
    with pytest.raises(EvaluationError, match=r"evaluation\.same_camera_rule = false"):
        evaluate(dataset)
    assert evaluate(dataset, remove_same_camera=False).num_valid_queries == 3


def test_queries_without_a_match_do_not_count() -> None:
    dataset = FakeDataset(
        splits={
            Split.QUERY: [Sample("q/1", 1, 0), Sample("q/9", 9, 0)],
            Split.GALLERY: [Sample("g/1", 1, 1), Sample("g/2", 2, 1)],
        }
    )
    report = evaluate(dataset)
    assert (report.num_queries, report.num_valid_queries) == (2, 1)
