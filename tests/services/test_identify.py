"""The identification use case on fakes."""

import pytest

from reid.application.identify import IdentificationOutcome, Identify
from reid.application.picture_selection import PictureSelection
from reid.domain.errors import DatasetError
from reid.domain.services.embedding import Embedder
from reid.domain.services.reidentification import Reidentification
from reid.domain.values.samples import Picture, UnreadableImage
from tests.fakes.dataset import FakePictures
from tests.fakes.encoder import FakeEncoder
from tests.fakes.listener import RecordingListener
from tests.fakes.vector_index import FakeIndex

PEOPLE = [Picture("g/a", "anna"), Picture("g/b", "bert"), Picture("g/c", "carl")]
ASKED = [Picture("q/a", "anna"), Picture("q/b", "bert"), Picture("q/x"), Picture("q/z", "zoe")]


def identify(
    queries: FakePictures | PictureSelection,
    gallery: FakePictures,
    *,
    index: FakeIndex | None = None,
) -> IdentificationOutcome:
    encoder = FakeEncoder()
    embedder = Embedder(encoder=encoder, listener=RecordingListener())
    reidentification = Reidentification(embedder=embedder, index=index or FakeIndex())
    return Identify(encoder=encoder, reidentification=reidentification, top_k=2).run(
        queries, gallery
    )


def test_every_query_is_answered_and_judged_where_that_can_be() -> None:
    outcome = identify(FakePictures(ASKED), FakePictures(PEOPLE))
    assert [answer.image for answer in outcome.identifications] == ["q/a", "q/b", "q/x", "q/z"]
    assert (outcome.num_judged, outcome.num_correct, outcome.accuracy) == (2, 2, 1.0)
    assert (outcome.num_gallery, outcome.num_labels) == (3, 3)
    assert outcome.is_exact


def test_without_known_labels_there_is_no_accuracy() -> None:
    assert identify(FakePictures([Picture("q/x")]), FakePictures(PEOPLE)).accuracy is None


def test_unreadable_pictures_are_listed_and_the_rest_answered() -> None:
    queries = FakePictures(ASKED, damaged={"q/b": "truncated"})
    gallery = FakePictures(PEOPLE, damaged={"g/c": "empty"})
    outcome = identify(queries, gallery)
    assert [answer.image for answer in outcome.identifications] == ["q/a", "q/x", "q/z"]
    assert outcome.unreadable_queries == (UnreadableImage("q/b", "truncated"),)
    assert outcome.unreadable_gallery == (UnreadableImage("g/c", "empty"),)
    assert outcome.num_gallery == 2


@pytest.mark.parametrize("role", ["query", "gallery"])
def test_a_side_without_a_readable_picture_is_an_error(role: str) -> None:
    queries = FakePictures(ASKED[:1], damaged={"q/a": "truncated"} if role == "query" else {})
    damaged = {picture.image: "empty" for picture in PEOPLE} if role == "gallery" else {}
    with pytest.raises(DatasetError, match=rf"not one of \d {role} pictures? can be read"):
        identify(queries, FakePictures(PEOPLE, damaged=damaged))


def test_an_approximate_answer_says_so() -> None:
    index = FakeIndex(is_exact=False, recall=0.9)
    outcome = identify(FakePictures(ASKED), FakePictures(PEOPLE), index=index)
    assert not outcome.is_exact
    assert outcome.index_recall == 0.9


def test_a_selection_lists_only_what_was_chosen() -> None:
    chosen = PictureSelection(FakePictures(ASKED), ASKED[1:2])
    assert [a.image for a in identify(chosen, FakePictures(PEOPLE)).identifications] == ["q/b"]
