"""What `reid doctor` finds, each fault shown by a part that has it."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import pytest
from torch import Tensor

from reid.adapters.indexes.exact import ExactIndex
from reid.adapters.surroundings import concealment
from reid.application import self_tests
from reid.application.self_tests import (
    try_device,
    try_encoder,
    try_evaluator,
    try_gallery,
    try_index,
)
from reid.container.diagnosis import CheckOutcome, diagnose
from reid.domain.errors import (
    EncoderError,
    EvaluationError,
    GalleryError,
    ReidError,
    VectorIndexError,
)
from reid.domain.ranking.exact_scores import score_embeddings
from reid.domain.ranking.metrics import QueryScores
from reid.domain.values.features import EmbeddingSet, ImageFeatures, Neighbours
from reid.domain.values.galleries import AuditEntry, EncoderFingerprint, NewImage
from tests.fakes.encoder import FakeEncoder
from tests.fakes.vector_index import FakeIndex
from tests.galleries import MemoryGallery


def passing() -> str:
    return "fine"


def failing(error: Exception) -> Callable[[], str]:
    def fail() -> str:
        raise error

    return fail


def failures(checks: Sequence[CheckOutcome]) -> list[CheckOutcome]:
    return [outcome for outcome in checks if not outcome.is_passed]


def test_all_that_passes_is_sound_and_no_advice_is_given() -> None:
    (outcome,) = diagnose({}, [("one", passing, "mend it")], conceal=str).checks
    assert outcome.is_passed
    assert (outcome.finding, outcome.advice) == ("fine", None)
    assert outcome.seconds >= 0


@pytest.mark.parametrize(
    ("error", "finding"),
    [
        (EncoderError("no good"), "EncoderError: no good"),
        (RuntimeError("of a library\n  in two lines"), "RuntimeError: of a library in two lines"),
        (NotImplementedError(), "NotImplementedError"),
    ],
)
def test_whatever_a_check_raises_is_a_failure_and_the_others_still_run(
    error: Exception, finding: str
) -> None:
    checks = [("broken", failing(error), "mend it"), ("whole", passing, "nothing")]
    found = diagnose({}, checks, conceal=str)
    (failure,) = failures(found.checks)
    assert (failure.name, failure.finding, failure.advice) == ("broken", finding, "mend it")
    assert found.checks[1].is_passed


def test_a_fact_that_cannot_be_told_says_so() -> None:
    found = diagnose({"good": lambda: 1, "bad": failing(OSError("gone"))}, [], conceal=str)
    assert found.facts == {"good": 1, "bad": "unknown: OSError: gone"}


def test_facts_findings_and_advice_are_concealed_at_every_depth() -> None:
    found = diagnose(
        {"nested": lambda: {"a": ["/home/anna", 1, None]}},
        [("broken", failing(OSError("/home/anna/x")), "see /home/anna/y")],
        conceal=concealment({"/home/anna": "<home>"}),
    )
    assert found.facts == {"nested": {"a": ["<home>", 1, None]}}
    assert found.checks[0].finding == "OSError: <home>/x"
    assert found.checks[0].advice == "see <home>/y"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/anna/runs/x.json is gone", "<home>/runs/x.json is gone"),
        ("/home/anna/work/x", "<work>/x"),
        ("cannot open '/srv/secret/lib.so'", "cannot open '<path>'"),
        ("/home/annabel/x", "<path>"),
        ("by anna on service.example", "by <user> on <host>"),
        ("annabel and hanna", "annabel and hanna"),
        ("https://example.org/a/b and 3 m/s", "https://example.org/a/b and 3 m/s"),
    ],
)
def test_private_places_and_names_are_concealed_and_nothing_else(text: str, shown: str) -> None:
    places = {"/home/anna": "<home>", "/home/anna/work": "<work>", "/": "<root>"}
    names = {"anna": "<user>", "service.example": "<host>", "": "<nobody>"}
    conceal = concealment(places | names)
    assert conceal(text) == shown


def test_a_sound_encoder_passes() -> None:
    assert "twice the same" in try_encoder(FakeEncoder)


def test_an_encoder_that_answers_another_way_the_second_time_is_found() -> None:
    seeds = count()
    with pytest.raises(EncoderError, match="two answers for the same images"):
        try_encoder(lambda: FakeEncoder(seed=next(seeds)))


class Distorted(FakeEncoder):
    """Multiplies what it sees."""

    factor = float("nan")

    def encode_images(self, images: Tensor, camids: Tensor | None = None) -> ImageFeatures:
        found = super().encode_images(images, camids)
        return ImageFeatures(
            found.penultimate, found.final * self.factor, found.projected * self.factor
        )


class Silent(Distorted):
    factor = 0.0


class Inverted(Distorted):
    factor = -1.0


@pytest.mark.parametrize(
    ("encoder", "message"), [(Distorted, "not finite"), (Silent, "no direction")]
)
def test_vectors_that_are_none_are_found(encoder: type[FakeEncoder], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        try_encoder(encoder)


def test_a_device_that_computes_otherwise_is_found() -> None:
    assert "cosine 1.0000" in try_device(lambda _: FakeEncoder(), device="other")
    with pytest.raises(EncoderError, match=r"other and cpu describe .*: cosine -1\.0000"):
        try_device(lambda device: FakeEncoder() if device == "cpu" else Inverted(), device="other")


@pytest.mark.parametrize("is_exact", [True, False])
def test_a_sound_index_passes(is_exact: bool) -> None:  # noqa: FBT001
    assert try_index(FakeIndex(is_exact=is_exact)) == "256 of 256 rows find themselves"


class Mistaken(FakeIndex):
    """Answers the first rows of a gallery with their neighbours."""

    def __init__(self, *, num_missed: int, is_exact: bool) -> None:
        super().__init__(is_exact=is_exact)
        self._num_missed = num_missed

    def search(self, queries: Tensor, k: int) -> Neighbours:
        found = super().search(queries, k)
        indices = found.indices.clone()
        indices[: self._num_missed] = indices[: self._num_missed].flip(1)
        return Neighbours(indices=indices, distances=found.distances)


def test_one_miss_is_too_many_for_an_exact_index_and_few_are_allowed_to_others() -> None:
    with pytest.raises(VectorIndexError, match="only 255 of 256 rows find themselves"):
        try_index(Mistaken(num_missed=1, is_exact=True))
    assert try_index(Mistaken(num_missed=20, is_exact=False)).startswith("236 of 256")
    with pytest.raises(VectorIndexError, match="only 196 of 256"):
        try_index(Mistaken(num_missed=60, is_exact=False))


class Unordered(FakeIndex):
    """Its distances fall."""

    def search(self, queries: Tensor, k: int) -> Neighbours:
        found = super().search(queries, k)
        return Neighbours(indices=found.indices, distances=found.distances.flip(1))


def test_answers_out_of_order_are_found() -> None:
    with pytest.raises(VectorIndexError, match="not in the order of their distances"):
        try_index(Unordered())


def test_the_evaluator_gives_the_known_scores() -> None:
    assert "mAP 75.00% and Rank-1 50.00%" in try_evaluator()


def farthest_first(queries: EmbeddingSet, gallery: EmbeddingSet) -> QueryScores:
    return score_embeddings(queries, EmbeddingSet(-gallery.vectors, gallery.pids, gallery.camids))


@pytest.mark.parametrize(
    "broken", [partial(score_embeddings, remove_same_camera=False), farthest_first]
)
def test_an_evaluator_that_scores_otherwise_is_found(
    broken: Callable[[EmbeddingSet, EmbeddingSet], QueryScores], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_tests, "score_embeddings", broken)
    with pytest.raises(
        EvaluationError, match=r"known case scored mAP and CMC 0\.\d+, .* not 0\.75"
    ):
        try_evaluator()


class OneGallery(MemoryGallery):
    """A gallery in memory that outlives being closed."""

    def close(self) -> None:
        pass


class Unforgetting(OneGallery):
    """Says that it erases."""

    def erase(self, keys: Sequence[int], *, entry: AuditEntry) -> int:
        self.note(entry)
        return len(keys)


class Faulty(OneGallery):
    """Finds faults with itself."""

    def check(self) -> tuple[str, ...]:
        return ("row 3 is damaged",)


class Misplacing(OneGallery):
    """Keeps other vectors than those it was given."""

    def add(
        self,
        images: Sequence[NewImage],
        vectors: Tensor,
        *,
        fingerprint: EncoderFingerprint,
        entry: AuditEntry,
    ) -> tuple[int, ...]:
        return super().add(images, vectors.flip(0), fingerprint=fingerprint, entry=entry)


def opened(kind: type[MemoryGallery]) -> MemoryGallery:
    return kind(create_index=ExactIndex)


def test_a_sound_gallery_passes() -> None:
    gallery = opened(OneGallery)
    assert "found, erased and gone" in try_gallery(lambda *, create: gallery)  # noqa: ARG005


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unforgetting, "an erased person is still answered"),
        (Faulty, "row 3 is damaged"),
        (Misplacing, "asked for images"),
    ],
)
def test_a_gallery_that_breaks_its_word_is_found(kind: type[MemoryGallery], message: str) -> None:
    gallery = opened(kind)
    with pytest.raises(GalleryError, match=message):
        try_gallery(lambda *, create: gallery)  # noqa: ARG005


def test_a_gallery_that_forgets_what_it_kept_is_found() -> None:
    with pytest.raises(ReidError):
        try_gallery(lambda *, create: opened(MemoryGallery))  # noqa: ARG005
