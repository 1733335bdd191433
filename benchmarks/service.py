"""How many images a second the service answers, beside what its encoder could do alone.

The service runs in a process of its own; clients send small requests at once over loopback, so that
only batching in the service makes full batches of them. The encoder alone is given ready tensors.
"""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import torch

from benchmarks.harness import Row, Scale, compare
from reid.adapters.synthetic.generator import DrawnDataset
from reid.container.root import Container
from reid.domain.training.augmentation import normalise
from reid.domain.values.samples import Resampling
from reid.settings.loading import load_settings

GOAL = 0.8
"""Share of the encoder's own pace."""

SAME_SIMILARITY = 1e-4


@dataclass(frozen=True)
class Size:
    """How much work."""

    encoder: tuple[str, str]
    """Recipe and weights."""

    identities: int
    num_images: int
    per_request: int
    clients: int
    runs: int


FULL = Size(
    encoder=("vit-b16", "random"),
    identities=16,
    num_images=128,
    per_request=4,
    clients=32,
    runs=3,
)
USUAL = Size(
    encoder=("vit-b16", "random"),
    identities=16,
    num_images=64,
    per_request=4,
    clients=16,
    runs=1,
)
QUICK = Size(
    encoder=("tiny", "random"),
    identities=4,
    num_images=32,
    per_request=2,
    clients=8,
    runs=1,
)


def rows(scale: Scale) -> Iterator[Row]:
    """Time the service and its encoder in turn."""
    size = scale.choose(QUICK, USUAL, FULL)
    with TemporaryDirectory() as folder:
        people = Path(folder) / "people"
        DrawnDataset(
            identities=2,
            test_identities=size.identities,
            images_per_camera=2,
            cameras=2,
            distractors=0,
            junk=0,
            seed=1,
        ).draw(people)
        yield _row(people, Path(folder) / "gallery", size)


def _row(people: Path, place: Path, size: Size) -> Row:
    recipe, weights = size.encoder
    settings = load_settings(options={"recipe": recipe, "encoder.weights": weights}).settings
    container = Container(settings=settings, num_cameras=0)
    container.enroll_gallery().run(
        container.images()(people / "bounding_box_test"),
        open_gallery=lambda: container.open_gallery(str(place), create=True),
        mirrors=True,
    )
    queries = sorted((people / "query").glob("*.jpg"))
    contents = [path.read_bytes() for path in queries]
    sent = list(itertools.islice(itertools.cycle(contents), size.num_images))
    encoder, geometry = container.encoder(), container.encoder().geometry
    ready = container.images()(people / "query").reader.read(
        [path.name for path in queries], size=geometry.image_size, resampling=Resampling.BILINEAR
    )
    tensors = ready[[number % len(ready) for number in range(size.num_images)]]
    ready_images = normalise(tensors, mean=geometry.pixel_mean, std=geometry.pixel_std)
    step = settings.evaluation.batch_size
    batches = [ready_images[start : start + step] for start in range(0, len(tensors), step)]

    def encode() -> None:
        with torch.no_grad():
            for batch in batches:
                encoder.encode_images(batch)

    with _serving(place, size) as address, httpx.Client(base_url=address, timeout=300) as client:

        def ask(start: int) -> list[dict[str, object]]:
            chosen = sent[start : start + size.per_request]
            files = [("image", ("x.jpg", content)) for content in chosen]
            answers: list[dict[str, object]] = (
                client.post("/identify", files=files).raise_for_status().json()["answers"]
            )
            return answers

        def ask_all() -> list[dict[str, object]]:
            with ThreadPoolExecutor(size.clients) as pool:
                found = pool.map(ask, range(0, size.num_images, size.per_request))
                return list(itertools.chain.from_iterable(found))

        error = _error(container, people, place, ask_all()[: len(queries)])
        timing = compare(ask_all, encode, runs=size.runs)
    return Row(
        part=f"service, {size.num_images} images by {size.clients} clients",
        ours="reid serve, requests batched",
        plain="its encoder alone, full batches of ready tensors",
        ours_seconds=timing.ours_seconds,
        plain_seconds=timing.plain_seconds,
        ratio=timing.ratio,
        goal=f"{GOAL:g} of the encoder's pace",
        is_met=timing.ratio >= GOAL,
        exactness=f"similarities of reid identify within {error:.0e}",
        ours_peak_mib=timing.ours_peak_mib,
        plain_peak_mib=timing.plain_peak_mib,
        runs=timing.runs,
        details={
            "encoder": recipe,
            "images_per_second": size.num_images / timing.ours_seconds,
        },
    )


def _error(
    container: Container, people: Path, place: Path, answers: list[dict[str, object]]
) -> float:
    """Compare answers with those of the use case; labels must be the same."""
    gallery = container.open_gallery(str(place), create=False)
    outcome = container.identify().run(container.images()(people / "query"), gallery)
    gallery.close()
    worst = 0.0
    for ours, theirs in zip(answers, outcome.identifications, strict=False):
        assert theirs.similarity is not None
        difference = abs(float(str(ours["similarity"])) - theirs.similarity)
        assert ours["label"] == theirs.label or difference < SAME_SIMILARITY
        worst = max(worst, difference)
    assert worst < SAME_SIMILARITY
    return worst


@contextmanager
def _serving(place: Path, size: Size) -> Iterator[str]:
    recipe, weights = size.encoder
    waiting = f"service.waiting={size.num_images}"
    code = "from reid.cli.app import main; main()"
    options = ["--recipe", recipe, "--weights", weights, "--port", "0", "--set", waiting]
    command = [sys.executable, "-c", code, "serve", "--gallery", str(place), *options]
    with subprocess.Popen(
        [*command, "--set", "service.seconds=300"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0
