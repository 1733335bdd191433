"""The identification use case on fakes."""

import pytest

from reid.application.identify import IdentificationOutcome
from reid.domain.errors import ConfigurationError, DatasetError, GalleryError
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.lists import ListedImages, select_images
from reid.domain.values.open_set import Fusion, FusionRecipe
from reid.domain.values.recipes import RerankingRecipe
from reid.domain.values.reports import Identification
from reid.domain.values.samples import ListedImage, UnreadableImage
from tests.fakes.dataset import FakeImageSource
from tests.fakes.vector_index import FakeIndex
from tests.services.identifying import Workbench

PEOPLE = [ListedImage("g/a", "anna"), ListedImage("g/b", "bert"), ListedImage("g/c", "carl")]
ASKED = [
    ListedImage("q/a", "anna"),
    ListedImage("q/b", "bert"),
    ListedImage("q/x"),
    ListedImage("q/z", "zoe"),
]
GALLERY = FakeImageSource(
    [
        ListedImage("anna/1", "anna"),
        ListedImage("anna/2", "anna"),
        ListedImage("bert/1", "bert"),
        ListedImage("carl/1", "carl"),
    ]
)


def identify(
    queries: FakeImageSource | ListedImages,
    gallery: FakeImageSource,
    *,
    bench: Workbench | None = None,
    top_k: int = 2,
) -> IdentificationOutcome:
    bench = bench or Workbench()
    return bench.identify(top_k=top_k).run_among(
        queries, gallery, open_gallery=lambda _: bench.gallery()
    )


def answers(
    queries: FakeImageSource, gallery: FakeImageSource, *, top_k: int = 2
) -> tuple[Identification, ...]:
    return identify(queries, gallery, top_k=top_k).identifications


def test_every_query_is_answered_and_judged_where_that_can_be() -> None:
    outcome = identify(FakeImageSource(ASKED), FakeImageSource(PEOPLE))
    assert [answer.name for answer in outcome.identifications] == ["q/a", "q/b", "q/x", "q/z"]
    assert (outcome.num_judged, outcome.num_correct, outcome.accuracy) == (2, 2, 1.0)
    assert outcome.num_gallery == 3
    assert outcome.is_exact


def test_means_are_not_re_ranked_and_that_is_said_before_anything_is_embedded() -> None:
    with pytest.raises(ConfigurationError, match="has no re-ranked distance"):
        IdentificationOptions(recipe=FusionRecipe(fusion=Fusion.MEAN), reranking=RerankingRecipe())


def test_without_known_labels_there_is_no_accuracy() -> None:
    assert identify(FakeImageSource([ListedImage("q/x")]), FakeImageSource(PEOPLE)).accuracy is None


def test_unreadable_images_are_listed_and_the_rest_answered() -> None:
    queries = FakeImageSource(ASKED, damaged={"q/b": "truncated"})
    gallery = FakeImageSource(PEOPLE, damaged={"g/c": "empty"})
    outcome = identify(queries, gallery)
    assert [answer.name for answer in outcome.identifications] == ["q/a", "q/x", "q/z"]
    assert outcome.unreadable_queries == (UnreadableImage("q/b", "truncated"),)
    assert outcome.unreadable_gallery == (UnreadableImage("g/c", "empty"),)
    assert outcome.num_gallery == 2


@pytest.mark.parametrize("role", ["query", "gallery"])
def test_a_side_without_a_readable_image_is_an_error(role: str) -> None:
    queries = FakeImageSource(ASKED[:1], damaged={"q/a": "truncated"} if role == "query" else {})
    damaged = {image.name: "empty" for image in PEOPLE} if role == "gallery" else {}
    with pytest.raises(DatasetError, match=rf"not one of \d {role} images? can be read"):
        identify(queries, FakeImageSource(PEOPLE, damaged=damaged))


def test_an_approximate_answer_says_so() -> None:
    bench = Workbench(index=FakeIndex(is_exact=False, recall=0.9))
    outcome = identify(FakeImageSource(ASKED), FakeImageSource(PEOPLE), bench=bench)
    assert not outcome.is_exact
    assert outcome.index_recall == 0.9


def test_a_selection_lists_only_what_was_chosen() -> None:
    chosen = select_images(FakeImageSource(ASKED), ASKED[1:2])
    assert [a.name for a in identify(chosen, FakeImageSource(PEOPLE)).identifications] == ["q/b"]


def test_each_query_gets_the_label_of_its_nearest_image() -> None:
    queries = FakeImageSource([ListedImage("q1", "bert"), ListedImage("q2", "anna")])
    found = answers(queries, GALLERY)
    assert [answer.name for answer in found] == ["q1", "q2"]
    assert [answer.label for answer in found] == ["bert", "anna"]
    assert [answer.true_label for answer in found] == ["bert", "anna"]
    for answer in found:
        assert len(answer.images) == 2
        assert answer.similarity == answer.images[0].similarity
        assert answer.similarity >= answer.images[1].similarity
        assert -1.0 <= answer.similarity <= 1.0 + 1e-6


def test_the_runner_up_is_the_best_other_label_even_below_the_top_k() -> None:
    answer = answers(FakeImageSource([ListedImage("q", "anna")]), GALLERY, top_k=1)[0]
    assert answer.label == "anna"
    assert [image.label for image in answer.images] == ["anna"]
    assert answer.runner_up_label in {"bert", "carl"}
    assert answer.runner_up_similarity is not None
    assert answer.similarity is not None
    assert answer.runner_up_similarity <= answer.similarity


def test_the_runner_up_is_found_behind_a_person_of_many_images() -> None:
    crowd = [ListedImage(f"anna/{number:02d}", "anna") for number in range(50)]
    gallery = FakeImageSource([*crowd, ListedImage("bert/1", "bert")])
    answer = answers(FakeImageSource([ListedImage("q", "anna")]), gallery, top_k=3)[0]
    assert (answer.label, answer.runner_up_label) == ("anna", "bert")
    assert len(answer.images) == 3


def test_a_gallery_of_one_label_has_no_runner_up() -> None:
    gallery = FakeImageSource([ListedImage("anna/1", "anna"), ListedImage("anna/2", "anna")])
    answer = answers(FakeImageSource([ListedImage("q")]), gallery, top_k=9)[0]
    assert answer.runner_up_label is None
    assert answer.runner_up_similarity is None
    assert len(answer.images) == 2


def test_a_gallery_image_without_a_label_is_an_error_that_names_it() -> None:
    gallery = FakeImageSource([ListedImage("a", "anna"), ListedImage("b")])
    with pytest.raises(DatasetError, match=r"no label on 1 of 2 gallery images.* b;"):
        answers(FakeImageSource([ListedImage("q")]), gallery)


def test_cameras_are_used_where_every_image_names_one_that_the_encoder_knows() -> None:
    def similarity(camera: str | None, *, num_cameras: int) -> float | None:
        gallery = FakeImageSource([ListedImage("g", "anna", camera="1")])
        queries = FakeImageSource([ListedImage("q", "anna", camera=camera)])
        bench = Workbench(num_cameras=num_cameras)
        outcome = identify(queries, gallery, bench=bench)
        assert outcome.are_cameras_used == (num_cameras == 2 and camera in {"1", "2"})
        return outcome.identifications[0].similarity

    assert similarity("2", num_cameras=2) != similarity("1", num_cameras=2)
    assert similarity("2", num_cameras=0) == similarity("1", num_cameras=0)
    unknown = {similarity(camera, num_cameras=2) for camera in ("3", "0", "left", None)}
    assert len(unknown) == 1


def test_answers_tell_camera_and_key_of_the_gallery_s_images() -> None:
    bench, gallery = Workbench(), Workbench().gallery()
    people = FakeImageSource([ListedImage("g/a", "anna", camera="4"), ListedImage("g/b", "bert")])
    bench.enrolment.enroll(gallery, people, mirrors=True)
    queries = FakeImageSource([ListedImage("q", "anna", camera="7")])
    (answer,) = bench.identify().run(queries, gallery).identifications
    assert answer.camera == "7"
    kept = {image.key: image for image in gallery.images()}
    for ranked in answer.images:
        assert ranked.key is not None
        record = kept[ranked.key]
        assert (ranked.name, ranked.label, ranked.camera) == (
            record.name,
            record.label,
            record.camera,
        )


def test_a_kept_gallery_is_asked_without_embedding_any_of_its_images() -> None:
    bench, people = Workbench(), FakeImageSource(PEOPLE)
    gallery = bench.gallery()
    first = bench.identify().run_among(
        FakeImageSource(ASKED), people, open_gallery=lambda _: gallery
    )
    bench.listener.events.clear()
    second = bench.identify().run(FakeImageSource(ASKED), gallery)
    assert bench.num_embedded() == 0
    assert second.identifications == first.identifications
    assert second.changes is None
    assert first.changes is not None
    assert first.changes.num_embedded == 3


def test_the_second_run_among_the_same_images_embeds_none_of_them() -> None:
    bench = Workbench()
    gallery = bench.gallery()
    runs = [
        bench.identify().run_among(
            FakeImageSource(ASKED), FakeImageSource(PEOPLE), open_gallery=lambda _: gallery
        )
        for _ in range(2)
    ]
    assert bench.num_embedded() == 3
    assert runs[0].identifications == runs[1].identifications
    assert runs[1].changes is not None
    assert (runs[1].changes.num_embedded, runs[1].changes.num_unchanged) == (0, 3)


def test_a_gallery_by_another_encoder_is_refused_with_both_named() -> None:
    gallery = Workbench().gallery(place="people.gallery")
    Workbench(seed=0).enrolment.enroll(gallery, FakeImageSource(PEOPLE), mirrors=True)
    other = Workbench(seed=1)
    with pytest.raises(GalleryError, match=r"people\.gallery .*seed 0.*the queries.*seed 1"):
        other.identify().run(FakeImageSource(ASKED), gallery)
    assert other.listener.events == []


def test_an_empty_gallery_is_refused_by_name_before_anything_is_embedded() -> None:
    bench = Workbench()
    with pytest.raises(GalleryError, match=r"people\.gallery is empty"):
        bench.identify().run(FakeImageSource(ASKED), bench.gallery(place="people.gallery"))
    assert bench.listener.events == []


def test_queries_without_cameras_are_refused_where_the_gallery_was_told_them() -> None:
    bench = Workbench(num_cameras=2)
    gallery = bench.gallery()
    bench.enrolment.enroll(
        gallery, FakeImageSource([ListedImage("g", "anna", camera="1")]), mirrors=True
    )
    with pytest.raises(
        GalleryError, match=r"the queries q has none .*evaluation\.use_cameras=false"
    ):
        bench.identify().run(FakeImageSource([ListedImage("q")]), gallery)
    blind = Workbench(num_cameras=2, uses_cameras=False)
    with pytest.raises(GalleryError, match=r"set evaluation\.use_cameras to true"):
        blind.identify().run(FakeImageSource([ListedImage("q", camera="1")]), gallery)
    told = bench.identify().run(FakeImageSource([ListedImage("q", camera="1")]), gallery)
    assert told.are_cameras_used
