"""Finding the similarity below which nobody is meant."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.indexes.exact import ExactIndex
from reid.application.calibrate import Calibrate, CalibrationOutcome
from reid.domain.errors import ConfigurationError, EvaluationError, GalleryError
from reid.domain.ranking.open_set import confidence_of
from reid.domain.services.gallery import Gallery
from reid.domain.services.identification import IdentificationOptions
from reid.domain.services.identifier import Identifier
from reid.domain.services.queries import Query
from reid.domain.values.galleries import AuditAction, AuditEntry, EncoderFingerprint, NewImage
from reid.domain.values.open_set import Fusion, FusionRecipe
from reid.domain.values.samples import ListedImage, UnreadableImage
from reid.ports.dataset import ImageSource
from tests.fakes.dataset import FakeImageSource

WIDTH = 16
NOW = "2026-01-02T00:00:00Z"
STAMP = EncoderFingerprint(name="rn-tiny", weights="random", digest="aa", width=WIDTH)
BEST = FusionRecipe(fusion=Fusion.BEST)


def looks(name: str) -> Tensor:
    """Direction of a person or a disturbance, decided by its name."""
    seed = int.from_bytes(name.encode()[-6:], "big")
    return F.normalize(torch.randn(WIDTH, generator=torch.Generator().manual_seed(seed)), dim=0)


def vector_of(image: ListedImage) -> Tensor:
    person = image.label or image.name
    return F.normalize(looks(f"who{person}") + 0.75 * looks(image.name), dim=0)


def embed(source: ImageSource, gallery: Gallery) -> Tensor:
    """Stand in for an encoder that tells people apart fairly well."""
    assert gallery.describe().fingerprint == STAMP
    return torch.stack([vector_of(image) for image in source.images()])


def images_of(side: str, people: range, *, shots: int = 2, camera: str = "") -> list[ListedImage]:
    return [
        ListedImage(f"{side}{person:03d}s{shot}", f"{person:03d}", camera or str(shot + 1))
        for person in people
        for shot in range(shots)
    ]


def gallery_of(images: list[ListedImage]) -> Gallery:
    gallery = open_memory_gallery(create_index=ExactIndex)
    gallery.add(
        [
            NewImage(
                name=p.name, source="here", content=p.name, label=p.label or "", camera=p.camera
            )
            for p in images
        ],
        torch.stack([vector_of(image) for image in images]),
        fingerprint=STAMP,
        entry=AuditEntry(at=NOW, action=AuditAction.ADD, subject="here", num_images=1),
    )
    return gallery


def calibrate(
    queries: list[ListedImage],
    gallery: Gallery,
    *,
    rate: float = 0.1,
    non_mated: list[ListedImage] | None = None,
    seed: int = 1,
    recipe: FusionRecipe = BEST,
    are_tracklets: bool = False,
    damaged: Mapping[str, str] | None = None,
) -> CalibrationOutcome:
    use_case = Calibrate(
        embed=embed, now=lambda: NOW, recipe=recipe, seed=seed, are_tracklets=are_tracklets
    )
    return use_case.run(
        FakeImageSource(queries, damaged=damaged),
        gallery,
        false_accept_rate=rate,
        non_mated=None if non_mated is None else FakeImageSource(non_mated),
    )


def test_half_of_the_people_stand_in_for_unknown_people() -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    outcome = calibrate(images_of("q", range(40)), gallery)
    assert (outcome.report.num_known, outcome.report.num_unknown) == (40, 40)
    assert outcome.calibration.measured_false_accept_rate == 0.1
    assert gallery.describe().calibrations == (outcome.calibration,)
    assert gallery.describe().num_images == 80


def test_the_seed_decides_who_is_an_unknown_person() -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    queries = images_of("q", range(40))
    first, again, other = (calibrate(queries, gallery, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.calibration != other.calibration


def test_unknown_people_of_their_own_are_as_often_accepted_as_was_asked_for() -> None:
    gallery = gallery_of(images_of("g", range(100), camera="9"))
    calibration = calibrate(images_of("q", range(100)), gallery).calibration
    options = IdentificationOptions()
    decision = options.decide([calibration], place="here")
    fresh = images_of("n", range(500, 800), shots=1)
    answers = Identifier(gallery, options, decision).identify(
        [Query(images=(image,)) for image in fresh],
        torch.stack([vector_of(image) for image in fresh]),
    )
    accepted = sum(not answer.is_unknown for answer in answers) / len(answers)
    assert accepted == pytest.approx(0.1, abs=0.06)


def test_with_unknown_people_given_everybody_else_is_known() -> None:
    gallery = gallery_of(images_of("g", range(30), camera="9"))
    non_mated = [ListedImage(f"x{number}") for number in range(20)]
    outcome = calibrate(images_of("q", range(30)), gallery, non_mated=non_mated)
    assert (outcome.report.num_known, outcome.report.num_unknown) == (60, 20)


def test_people_whom_the_gallery_does_not_know_are_unknown_people() -> None:
    gallery = gallery_of(images_of("g", range(20), camera="9"))
    outcome = calibrate(images_of("q", range(30)), gallery)
    assert (outcome.report.num_known, outcome.report.num_unknown) == (20, 20 + 20)


def test_a_known_person_among_the_unknown_people_is_refused() -> None:
    gallery = gallery_of(images_of("g", range(20)))
    with pytest.raises(EvaluationError, match="003 is among the unknown people"):
        calibrate(images_of("q", range(20)), gallery, non_mated=[ListedImage("x", "003")])


def test_a_gallery_can_be_calibrated_on_its_own_images() -> None:
    images = images_of("g", range(30), shots=3, camera="")
    outcome = calibrate(images, gallery_of(images))
    assert outcome.report.rank_1 < 1  # nobody finds the very same image
    unlabelled_cameras = [ListedImage(p.name, p.label) for p in images]
    same = calibrate(unlabelled_cameras, gallery_of(unlabelled_cameras))
    assert same.report == outcome.report


def test_people_seen_by_the_query_s_camera_alone_are_left_out() -> None:
    gallery = gallery_of(
        [*images_of("g", range(20), camera="9"), *images_of("h", range(20, 40), camera="1")]
    )
    outcome = calibrate(images_of("q", range(40), camera="1"), gallery)
    assert outcome.num_unmatched > 0
    assert outcome.report.num_known + outcome.report.num_unknown == 80 - outcome.num_unmatched


def test_unlabelled_and_damaged_images_are_left_out_and_counted() -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    queries = [*images_of("q", range(40)), ListedImage("nobody")]
    outcome = calibrate(queries, gallery, damaged={"q003s1": "truncated"})
    assert outcome.num_unlabelled == 1
    assert outcome.unreadable == (UnreadableImage("q003s1", "truncated"),)
    assert outcome.report.num_known + outcome.report.num_unknown == 79


def test_a_tracklet_is_one_query_and_its_calibration_says_so() -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    queries = images_of("q", range(40), shots=4, camera="1")
    single, tracklets = (calibrate(queries, gallery, are_tracklets=f) for f in (False, True))
    assert tracklets.report.num_known + tracklets.report.num_unknown == 40
    assert tracklets.report.rank_1 > single.report.rank_1
    assert tracklets.calibration.fusion == "best, tracklets"


@pytest.mark.parametrize("fusion", list(Fusion))
def test_the_calibration_remembers_its_fusion(fusion: Fusion) -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    recipe = FusionRecipe(fusion=fusion)
    outcome = calibrate(images_of("q", range(40)), gallery, recipe=recipe)
    assert outcome.calibration.fusion == recipe.words(are_tracklets=False)
    assert outcome.report.rank_1 > 0.5


def test_more_similar_answers_are_surer() -> None:
    gallery = gallery_of(images_of("g", range(40), camera="9"))
    found = calibrate(images_of("q", range(40)), gallery).calibration
    sure = confidence_of(
        torch.tensor([0.2, 0.9]), slope=found.slope, intercept=found.intercept
    ).tolist()
    assert 0 <= sure[0] < 0.3 < 0.7 < sure[1] <= 1


def test_it_is_written_into_the_audit_log() -> None:
    gallery = gallery_of(images_of("g", range(20)))
    calibrate(images_of("q", range(20), camera="8"), gallery)
    assert gallery.audit()[-1] == AuditEntry(
        at=NOW,
        action=AuditAction.CALIBRATE,
        subject="best, false-accept rate 0.1",
        num_images=40,
    )


@pytest.mark.parametrize(
    ("rate", "people", "problem"),
    [
        (
            0.01,
            20,
            r"20 queries of unknown people cannot show a false-accept rate of 0.01: .* 0.05",
        ),
        (0.1, 1, "too few to calibrate by"),
    ],
)
def test_what_cannot_be_measured_is_refused_and_nothing_kept(
    rate: float, people: int, problem: str
) -> None:
    gallery = gallery_of(images_of("g", range(20), camera="9"))
    with pytest.raises(EvaluationError, match=problem):
        calibrate(images_of("q", range(people)), gallery, rate=rate)
    assert not gallery.describe().calibrations


@pytest.mark.parametrize(
    ("known", "non_mated", "problem"),
    [
        (0, None, "memory is empty"),
        (20, [ListedImage("x", "003")], "003 is among the unknown people"),
        (
            20,
            [ListedImage("x")],
            "1 query of unknown people cannot show a false-accept rate of 0.1",
        ),
        (1, None, "too few to calibrate by"),
    ],
)
def test_whatever_can_be_refused_is_before_anything_is_embedded(
    known: int, non_mated: list[ListedImage] | None, problem: str
) -> None:
    def embed_nothing(source: ImageSource, gallery: Gallery) -> Tensor:
        raise AssertionError((source, gallery))

    calibrating = Calibrate(embed=embed_nothing, now=lambda: NOW, recipe=BEST, seed=1)
    gallery = open_memory_gallery(create_index=ExactIndex)
    if known:
        gallery = gallery_of(images_of("g", range(known), camera="9"))
    with pytest.raises((EvaluationError, GalleryError), match=problem):
        calibrating.run(
            FakeImageSource(images_of("q", range(known or 20))),
            gallery,
            false_accept_rate=0.1,
            non_mated=None if non_mated is None else FakeImageSource(non_mated),
        )


@pytest.mark.parametrize("rate", [0.0, 1.0, 1.5, -0.1, float("nan")])
def test_a_rate_that_is_none_is_a_mistake_in_the_settings(rate: float) -> None:
    gallery = gallery_of(images_of("g", range(20), camera="9"))
    with pytest.raises(ConfigurationError, match=r"between 0 and 1, got .*: give another"):
        calibrate(images_of("q", range(20)), gallery, rate=rate)


def test_images_without_any_label_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no query has a label"):
        calibrate([ListedImage("nobody")], gallery_of(images_of("g", range(3))))
