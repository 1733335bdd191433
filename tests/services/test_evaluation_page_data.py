"""Evaluations with what lies behind them, on fakes."""

from dataclasses import replace

import pytest

from reid.application.evaluate import Evaluate, Evaluation
from reid.application.page_data import evaluation_page_data
from reid.domain.ranking.metrics import QueryScores
from reid.domain.services.embedding import Embedder
from reid.domain.values.analyses import AnalysisRecipe, EvaluationAnalysis
from reid.domain.values.recipes import RerankingRecipe
from reid.ports.pages import MapMaker
from tests.fakes.dataset import FakeDataset
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.map_maker import FakeMapMaker
from tests.fakes.vector_index import FakeIndex
from tests.services.evaluating import Bench

RECIPE = AnalysisRecipe(num_hardest=3, num_ranked=2, num_bins=10)
DATASET = FakeDataset(test_identities=4, cameras=3)


def evaluated(
    *,
    recipe: AnalysisRecipe | None = RECIPE,
    reranking: RerankingRecipe | None = None,
    map_maker: MapMaker | None = None,
) -> tuple[Evaluation, QueryScores, EvaluationAnalysis | None]:
    encoder = FakeEncoder()
    embedder = Embedder(encoder=encoder, listener=RecordingListener())
    return Evaluate(
        encoder=encoder,
        dataset=DATASET,
        embedder=embedder,
        index=FakeIndex(),
        map_maker=map_maker or FakeMapMaker(),
        reranking=reranking,
    ).run(recipe=recipe)


def test_an_evaluation_tells_what_lies_behind_it_where_that_is_asked_for() -> None:
    assert evaluated(recipe=None)[2] is None
    _, scores, analysis = evaluated()
    assert analysis is not None
    precisions = scores.average_precision.tolist()
    assert [one.average_precision for one in analysis.hardest] == sorted(precisions)[:3]
    for one in analysis.hardest:
        assert one.match.label == one.label
        assert one.match.camera != one.camera
        assert len(one.above) == min(one.first_match_rank - 1, 2)
    assert analysis.camera_pairs.query_cameras == (0, 1, 2)
    assert sum(analysis.histogram.same) == 4 * 3 * 2
    assert len(analysis.points) == 4 * 3 + 4 * 3
    assert analysis.map_method == "two columns, perplexity 30; 24 images of 4 people"


def test_a_reranked_evaluation_is_looked_at_by_its_cosines() -> None:
    plain, reranked = evaluated(), evaluated(reranking=RerankingRecipe(k1=3, k2=2))
    assert reranked[2] == plain[2]
    assert reranked[0].report != plain[0].report


def test_a_run_hands_its_analysis_on_and_does_not_record_it() -> None:
    use_case = Bench().use_case()
    _, record, analysis = use_case.run(recipe=RECIPE)
    assert analysis is not None
    assert "analysis" not in record.content
    assert use_case.run()[2] is None


@pytest.mark.parametrize("is_reranked", [True, False])
def test_a_page_has_the_images_of_the_hard_queries(*, is_reranked: bool) -> None:
    evaluation, _, analysis = evaluated()
    assert analysis is not None
    reranking = RerankingRecipe() if is_reranked else None
    page_data = evaluation_page_data(
        replace(evaluation.report, reranking=reranking),
        analysis,
        reader=DATASET,
        title="Evaluation",
        notes=["so"],
    )
    assert set(page_data.query_thumbnails) == {one.name for one in analysis.hardest}
    for one in analysis.hardest:
        assert {image.name for image in (*one.above, one.match)} <= set(
            page_data.gallery_thumbnails
        )
    assert page_data.notes[0] == "so"
    assert len(page_data.notes) == 1 + is_reranked


def test_of_very_few_images_there_is_no_map() -> None:
    small = replace(RECIPE, map_images=4)
    analysis = evaluated(recipe=small)[2]
    assert analysis is not None
    assert analysis.points == ()
    assert analysis.map_method == "fewer than 8 images"


def test_where_nothing_can_make_a_map_the_analysis_says_why() -> None:
    analysis = evaluated(map_maker=FakeMapMaker(reason="no ink"))[2]
    assert analysis is not None
    assert analysis.points == ()
    assert analysis.map_method == "no ink"
    assert analysis.hardest
