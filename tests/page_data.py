"""Answers with painted images, as pages show them."""

from reid.domain.values.analyses import (
    CameraPairs,
    EvaluationAnalysis,
    HardQuery,
    MapPoint,
    SimilarityHistogram,
)
from reid.domain.values.page_data import AnswersPageData, EvaluationPageData
from reid.domain.values.reports import EvaluationReport, Identification, RankedImage
from reid.domain.values.samples import ImageSize
from tests.fakes.dataset import encode_jpeg, paint

SIZE = ImageSize(64, 32)


def jpeg(name: str, *, pid: int) -> bytes:
    return encode_jpeg(paint(name, pid=pid, camid=0, size=SIZE), height=SIZE.height)


def ranked(name: str, label: str, similarity: float) -> RankedImage:
    return RankedImage(name=name, label=label, similarity=similarity, camera="2")


def answer(
    name: str, label: str, *, true_label: str | None = None, is_unknown: bool = False
) -> Identification:
    return Identification(
        name=name,
        label=label,
        similarity=0.9,
        runner_up_label="zoe",
        runner_up_similarity=0.5,
        images=(ranked(f"g/{label}.jpg", label, 0.9), ranked("g/zoe.jpg", "zoe", 0.5)),
        true_label=true_label,
        camera="1",
        confidence=0.75,
        is_unknown=is_unknown,
    )


ANSWERS = (
    answer("q/1.jpg", "anna", true_label="anna"),
    answer("q/2.jpg", "bert", true_label="carl"),
    answer("q/3.jpg", "bert", is_unknown=True),
    answer("q/4.jpg", "dora"),
)


def page_data(*answers: Identification, title: str = "Who is it") -> AnswersPageData:
    """Every query and every gallery image has a small image."""
    shown = answers or ANSWERS
    return AnswersPageData(
        title=title,
        notes=("Made for a test",),
        answers=shown,
        query_thumbnails={one.name: jpeg(one.name, pid=n) for n, one in enumerate(shown)},
        gallery_thumbnails={
            image.name: jpeg(image.name, pid=n)
            for n, one in enumerate(shown)
            for image in one.images
        },
        num_queries=len(shown),
    )


def many(count: int, *, depth: int = 5) -> AnswersPageData:
    """Answer `count` queries from a gallery of 40 people."""
    answers = []
    for number in range(count):
        people = [f"person {(number * 7 + rank) % 40}" for rank in range(depth)]
        images = tuple(
            ranked(f"g/{person}/{number % 4}.jpg", person, 0.95 - 0.1 * rank - number / 1e4)
            for rank, person in enumerate(people)
        )
        truth = people[0] if number % 5 else people[1]
        answers.append(
            Identification(
                name=f"q/{number:04d}.jpg",
                label=people[0],
                similarity=images[0].similarity,
                runner_up_label=people[1],
                runner_up_similarity=images[1].similarity,
                images=images,
                true_label=truth if number % 11 else None,
                is_unknown=number % 13 == 0,
                camera=str(number % 6 + 1),
            )
        )
    return page_data(*answers)


def evaluation_page_data(*, title: str = "Evaluation on drawn people") -> EvaluationPageData:
    """Two hard queries, two cameras, a dozen points."""
    hard = tuple(
        HardQuery(
            name=f"q/{n}.jpg",
            label=f"{n}",
            camera="1",
            average_precision=0.125 * (n + 1),
            first_match_rank=3,
            num_matches=2,
            above=(ranked("g/a.jpg", "8", 0.9), ranked("g/b.jpg", "9", 0.85)),
            match=ranked(f"g/{n}.jpg", f"{n}", 0.8),
        )
        for n in range(2)
    )
    analysis = EvaluationAnalysis(
        histogram=SimilarityHistogram(
            edges=(-1.0, -0.5, 0.0, 0.5, 1.0), same=(0, 0, 1, 3), different=(0, 6, 3, 1)
        ),
        camera_pairs=CameraPairs(
            query_cameras=(0, 1),
            gallery_cameras=(0, 1),
            mean_average_precision=((None, 0.75), (0.5, None)),
            num_queries=((0, 4), (3, 0)),
        ),
        hardest=hard,
        points=tuple(
            MapPoint(x=n % 4 - 1.5, y=n // 4 - 1.0, label=f"{n}", camera="1", is_query=n < 6)
            for n in range(30)
        ),
        map_method="t-SNE",
    )
    names = ("a", "b", "0", "1")
    return EvaluationPageData(
        title=title,
        notes=("Search: exact",),
        report=EvaluationReport(
            cmc=(0.5, 0.75, 1.0),
            mean_average_precision=0.625,
            mean_inverse_negative_penalty=0.25,
            num_queries=4,
            num_valid_queries=4,
            num_gallery=9,
            is_same_camera_removed=True,
            is_exact=True,
            index_recall=1.0,
        ),
        analysis=analysis,
        query_thumbnails={one.name: jpeg(one.name, pid=9) for one in hard},
        gallery_thumbnails={f"g/{name}.jpg": jpeg(name, pid=1) for name in names},
    )
