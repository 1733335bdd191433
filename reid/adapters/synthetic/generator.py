"""A data set of drawn people in Market-1501's layout, for trials without real people."""

import math
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image

from reid.adapters.images.market_names import FOLDERS
from reid.adapters.synthetic.figures import FigureCanvas, Pose
from reid.adapters.synthetic.people import Person, invent_people, invent_person
from reid.adapters.synthetic.scenes import WALLS, Camera, invent_camera, photograph
from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.values.samples import DISTRACTOR_PID, JUNK_PID, ImageSize, Split

MARKER = "DRAWN.txt"
"""Marks drawn folders; `overwrite` replaces no others."""

JPEG_QUALITY = 90
DRAWN_SIZE = ImageSize(128, 64)
"""Market-1501's own."""

_SHARE_OF_PASSERS_BY = 0.75
"""Share among distractors; the others show an empty place."""

_MAX_PEOPLE = 9999
"""File names have four digits for the person."""

_SIDES = range(8, 2048 + 1)
"""Height or width of an image, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport:
    """How many images were drawn."""

    num_train: int
    num_query: int
    num_gallery: int
    """Distractors included, junk not."""

    num_junk: int
    identities: int
    test_identities: int
    cameras: int


@dataclass(frozen=True, slots=True)
class _Shot:
    """An image to take; a new passer-by where the person is None."""

    split: Split
    pid: int
    person: Person | None
    camid: int


def generate_market1501(
    root: Path,
    *,
    identities: int,
    images_per_camera: int,
    test_identities: int,
    cameras: int = 6,
    distractors: int = 0,
    junk: int = 0,
    size: ImageSize = DRAWN_SIZE,
    seed: int = 0,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> GenerationReport:
    """Draw people in Market-1501's layout; the same arguments give the same bytes.

    Every person passes every camera. Queries are one image of each test person in each camera, so
    each has matches from another one.

    Args:
        root: Folder to make; it appears only once everything is drawn.
        identities: People to train on.
        images_per_camera: Images of a person in a camera, in the training set and the gallery.
        test_identities: People in queries and gallery, none of them trained on.
        cameras: At least 2.
        distractors: Images in the gallery of passers-by and empty scenes (pid 0).
        junk: Badly cut images in the gallery's folder (pid -1).
        size: Of the images.
        seed: Of everything random.
        overwrite: Replace a folder that was drawn earlier, and only such a one.
        progress: Receives the numbers of drawn and of all images, after each image.

    Raises:
        ConfigurationError: A count is out of range.
        DatasetError: The folder holds something already, or cannot be written.
    """
    _check_counts(
        identities=identities,
        images_per_camera=images_per_camera,
        test_identities=test_identities,
        cameras=cameras,
        distractors=distractors,
        junk=junk,
    )
    _check_size(size)
    _check_target(root, overwrite=overwrite)
    numbered = _numbered_people(identities + test_identities, seed=seed)
    shots = [
        *_shots(numbered[:identities], {Split.TRAIN: images_per_camera}, cameras),
        *_shots(numbered[identities:], {Split.QUERY: 1, Split.GALLERY: images_per_camera}, cameras),
        *(_Shot(Split.GALLERY, DISTRACTOR_PID, None, n % cameras) for n in range(distractors)),
        *(_Shot(Split.GALLERY, JUNK_PID, None, n % cameras) for n in range(junk)),
    ]
    try:
        _publish(root, shots, _Studio(cameras=cameras, size=size, seed=seed), progress)
    except OSError as error:
        raise DatasetError(
            f"{root} cannot be written: {error.strerror or error}; free some space, make the "
            "folder above it writable, or name another one"
        ) from error
    counts = Counter(shot.split for shot in shots)
    return GenerationReport(
        num_train=counts[Split.TRAIN],
        num_query=counts[Split.QUERY],
        num_gallery=counts[Split.GALLERY] - junk,
        num_junk=junk,
        identities=identities,
        test_identities=test_identities,
        cameras=cameras,
    )


def _check_counts(**counts: int) -> None:
    least = {"distractors": 0, "junk": 0, "cameras": 2}
    for name, count in counts.items():
        if count < least.get(name, 1):
            raise ConfigurationError(
                f"{name} must be at least {least.get(name, 1)}, got {count}"
                + ("; a query needs a match from another camera" if name == "cameras" else "")
            )
    people = counts["identities"] + counts["test_identities"]
    if people > _MAX_PEOPLE:
        raise ConfigurationError(f"at most {_MAX_PEOPLE} people can be drawn, got {people}")


def _check_size(size: ImageSize) -> None:
    if size.height not in _SIDES or size.width not in _SIDES:
        raise ConfigurationError(
            f"images of {size} cannot be drawn: each side must be within "
            f"{_SIDES[0]}..{_SIDES[-1]} pixels"
        )


def _check_target(root: Path, *, overwrite: bool) -> None:
    if not root.exists():
        return
    if not root.is_dir():
        raise DatasetError(f"{root} is a file; name a new folder for the drawn data set")
    if not any(root.iterdir()) or (overwrite and (root / MARKER).is_file()):
        return
    raise DatasetError(
        f"{root} is not empty; "
        + (
            f"it holds no {MARKER}, so it was not drawn by this program and will not be replaced"
            if overwrite
            else "name a new folder, or ask to overwrite a data set drawn earlier"
        )
    )


def _numbered_people(count: int, *, seed: int) -> list[tuple[int, Person]]:
    people = invent_people(Random(f"people {seed}"), count)
    # With gaps, as in each half of Market-1501.
    pids = range(1, min(2 * count + 1, _MAX_PEOPLE) + 1)
    chosen = sorted(Random(f"pids {seed}").sample(pids, count), key=str)
    return list(zip(chosen, people, strict=True))


def _shots(
    people: Sequence[tuple[int, Person]], images: dict[Split, int], cameras: int
) -> Iterator[_Shot]:
    for pid, person in people:
        for camid in range(cameras):
            for split, count in images.items():
                yield from [_Shot(split, pid, person, camid)] * count


def _publish(
    root: Path,
    shots: Sequence[_Shot],
    studio: "_Studio",
    progress: Callable[[int, int], None] | None,
) -> None:
    """Draw into a folder beside `root`, then move it there in one step."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as beside:
        drawn = Path(beside) / "drawn"
        for folder in FOLDERS.values():
            (drawn / folder).mkdir(parents=True)
        (drawn / MARKER).write_text(
            "Drawn by reid: the people on these images do not exist.\n", encoding="ascii"
        )
        for done, shot in enumerate(shots, start=1):
            name, image = studio.take(shot)
            image.save(drawn / FOLDERS[shot.split] / name, format="JPEG", quality=JPEG_QUALITY)
            if progress is not None:
                progress(done, len(shots))
        if root.exists():
            root.rename(Path(beside) / "replaced")
        drawn.rename(root)


class _Studio:
    """Cameras that take images and number them."""

    def __init__(self, *, cameras: int, size: ImageSize, seed: int) -> None:
        self._size = size
        self._random = Random(f"images {seed}")
        self._cameras = [
            invent_camera(Random(f"camera {seed} {number}"), number=number, size=size)
            for number in range(cameras)
        ]
        self._frames = [0] * cameras

    def take(self, shot: _Shot) -> tuple[str, Image.Image]:
        """Take an image; returns the file's name and the image."""
        random, camera = self._random, self._cameras[shot.camid]
        pose = _pose(random, camera, is_junk=shot.pid == JUNK_PID)
        canvas = FigureCanvas(height=self._size.height, width=self._size.width)
        if shot.pid != DISTRACTOR_PID or random.random() < _SHARE_OF_PASSERS_BY:
            canvas.draw(shot.person or invent_person(random), pose)
        _stand_before(canvas, random, pose)
        return self._name(shot), photograph(canvas.finish(), camera, random=random)

    def _name(self, shot: _Shot) -> str:
        self._frames[shot.camid] += self._random.randint(25, 150)
        frame = self._frames[shot.camid]
        box = 0 if shot.split is Split.QUERY else self._random.randint(1, 9)
        pid = "-1" if shot.pid == JUNK_PID else f"{shot.pid:04d}"
        place = f"c{shot.camid + 1}s{1 + frame // 100_000}"
        return f"{pid}_{place}_{frame % 1_000_000:06d}_{box:02d}.jpg"


def _pose(random: Random, camera: Camera, *, is_junk: bool) -> Pose:
    yaw = camera.favourite_yaw if random.random() < 0.5 else random.uniform(0, 2 * math.pi)
    scale, centre = random.uniform(0.84, 0.95), random.gauss(0.5, 0.045)
    top = random.uniform(0.02, 0.06)
    if is_junk:
        scale *= random.choice((0.45, 1.8, 2.3))
        top, centre = random.uniform(-0.9, 0.5), random.choice((0.0, 0.1, 0.9, 1.0))
    return Pose(
        yaw=yaw + random.gauss(0, 0.3),
        stride=random.uniform(-0.5, 0.5),
        centre=centre,
        top=top,
        scale=scale,
    )


def _stand_before(canvas: FigureCanvas, random: Random, pose: Pose) -> None:
    """Sometimes hide a part: behind a passer-by at the edge, a pole, or something low."""
    kind, colour = random.random(), random.choice(WALLS)
    if kind < 0.06:
        edge, yaw = random.choice((-0.08, 1.08)), random.uniform(0, 2 * math.pi)
        passing = Pose(yaw=yaw, stride=0.3, centre=edge, top=pose.top + 0.03, scale=pose.scale)
        canvas.draw(invent_person(random), passing)
    elif kind < 0.11:
        left = random.choice((random.uniform(0.0, 0.3), random.uniform(0.65, 0.95)))
        canvas.rectangle((left, 0.0, left + 0.08, 1.0), colour)
    elif kind < 0.18:
        left, top = random.uniform(-0.2, 0.5), random.uniform(0.7, 0.85)
        canvas.rectangle((left, top, left + 0.7, 1.0), colour)
