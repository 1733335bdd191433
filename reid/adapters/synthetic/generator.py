"""A data set of drawn people in Market-1501's layout, for trials without real people."""

import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from reid.adapters.images.market_names import FOLDERS
from reid.adapters.synthetic.figures import SUPERSAMPLING, Figure, Pose
from reid.adapters.synthetic.people import Colour, Person, invent_people
from reid.adapters.synthetic.scenes import WALLS, Camera
from reid.domain.errors import ConfigurationError, DatasetError
from reid.domain.values.samples import DISTRACTOR_PID, JUNK_PID, ImageSize, Split

MARKER = "DRAWN.txt"  # marks drawn folders; `overwrite` replaces no others
_JPEG_QUALITY = 90
_SHARE_OF_PASSERS_BY = 0.75  # share among distractors; the others show an empty place
_MAX_PEOPLE = 9999  # file names have four digits for the person
_MARKET_SIZE = ImageSize(128, 64)
_SIDES = range(8, 2048 + 1)  # height or width of an image, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationReport:
    """How many images were drawn."""

    num_train: int
    num_query: int
    num_gallery: int  # distractors included, junk not
    num_junk: int
    identities: int
    test_identities: int
    cameras: int


class _Shot(NamedTuple):
    """An image to take; a new passer-by where the person is None."""

    split: Split
    pid: int
    person: Person | None
    camid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnDataset:
    """What to draw in Market-1501's layout; equal ones give the same bytes.

    Every person passes every camera. Queries are one image of each test person in each camera, so
    each has matches from another one.
    """

    identities: int  # people to train on
    images_per_camera: int  # images of a person in a camera, in the training set and the gallery
    test_identities: int  # people in queries and gallery, none of them trained on
    cameras: int = 6
    distractors: int = 0  # images in the gallery of passers-by and empty scenes (pid 0)
    junk: int = 0  # badly cut images in the gallery's folder (pid -1)
    size: ImageSize = _MARKET_SIZE
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise a ConfigurationError where a number is out of range."""
        least = {"identities": 1, "images_per_camera": 1, "test_identities": 1, "cameras": 2}
        for name, lowest in {**least, "distractors": 0, "junk": 0}.items():
            if getattr(self, name) < lowest:
                raise ConfigurationError(
                    f"{name} must be at least {lowest}, got {getattr(self, name)}"
                    + ("; a query needs a match from another camera" if name == "cameras" else "")
                )
        people = self.identities + self.test_identities
        if people > _MAX_PEOPLE:
            raise ConfigurationError(f"at most {_MAX_PEOPLE} people can be drawn, got {people}")
        if self.size.height not in _SIDES or self.size.width not in _SIDES:
            raise ConfigurationError(
                f"images of {self.size} cannot be drawn: each side must be within "
                f"{_SIDES[0]}..{_SIDES[-1]} pixels"
            )

    def draw(self, root: Path, *, overwrite: bool = False) -> GenerationReport:
        """Draw everything, then make the folder `root` of it in one step.

        `overwrite` replaces a folder that was drawn earlier, and only such a one.

        Raises:
            DatasetError: The folder holds something already, or cannot be written.
        """
        _check_target(root, overwrite=overwrite)
        try:
            root.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=root.parent, prefix=f".{root.name}.") as beside:
                drawn = Path(beside) / "drawn"
                counts = self._draw_into(drawn)
                if root.exists():
                    root.rename(Path(beside) / "replaced")
                drawn.rename(root)
        except OSError as error:
            raise DatasetError(
                f"{root} cannot be written: {error.strerror or error}; free some space, make the "
                "folder above it writable, or name another one"
            ) from error
        return GenerationReport(
            num_train=counts[Split.TRAIN],
            num_query=counts[Split.QUERY],
            num_gallery=counts[Split.GALLERY] - self.junk,
            num_junk=self.junk,
            identities=self.identities,
            test_identities=self.test_identities,
            cameras=self.cameras,
        )

    def _draw_into(self, folder: Path) -> Counter[Split]:
        for name in FOLDERS.values():
            (folder / name).mkdir(parents=True)
        (folder / MARKER).write_text(
            "Drawn by reid: the people on these images do not exist.\n", encoding="ascii"
        )
        studio, counts = _Studio(self), Counter[Split]()
        for shot in self._shots():
            name, image = studio.take(shot)
            image.save(folder / FOLDERS[shot.split] / name, quality=_JPEG_QUALITY)
            counts[shot.split] += 1
        return counts

    def _shots(self) -> Iterator[_Shot]:
        count = self.identities + self.test_identities
        people = invent_people(Random(f"people {self.seed}"), count)
        # With gaps, as in each half of Market-1501.
        pids = range(1, min(2 * count + 1, _MAX_PEOPLE) + 1)
        chosen = sorted(Random(f"pids {self.seed}").sample(pids, count), key=str)
        for number, (pid, person) in enumerate(zip(chosen, people, strict=True)):
            for camid in range(self.cameras):
                split = Split.TRAIN
                if number >= self.identities:
                    yield _Shot(Split.QUERY, pid, person, camid)
                    split = Split.GALLERY
                yield from [_Shot(split, pid, person, camid)] * self.images_per_camera
        for pid, number in ((DISTRACTOR_PID, self.distractors), (JUNK_PID, self.junk)):
            yield from (_Shot(Split.GALLERY, pid, None, n % self.cameras) for n in range(number))


def _check_target(root: Path, *, overwrite: bool) -> None:
    if root.exists() and not root.is_dir():
        raise DatasetError(f"{root} is a file; name a new folder for the drawn data set")
    if not root.exists() or not any(root.iterdir()) or (overwrite and (root / MARKER).is_file()):
        return
    advice = "name a new folder, or ask to overwrite a data set drawn earlier"
    if overwrite:
        advice = (
            f"it holds no {MARKER}, so it was not drawn by this program and will not be replaced"
        )
    raise DatasetError(f"{root} is not empty; {advice}")


class _Studio:
    """Cameras that take images and number them."""

    def __init__(self, drawn: DrawnDataset) -> None:
        self._size = drawn.size
        self._random = Random(f"images {drawn.seed}")
        self._cameras = [
            Camera(Random(f"camera {drawn.seed} {number}"), number=number, size=drawn.size)
            for number in range(drawn.cameras)
        ]
        self._frames = [0] * drawn.cameras

    def take(self, shot: _Shot) -> tuple[str, Image.Image]:
        """Take an image; returns the file's name and the image."""
        random, camera = self._random, self._cameras[shot.camid]
        pose = _pose(random, camera, is_junk=shot.pid == JUNK_PID)
        enlarged = (self._size.width * SUPERSAMPLING, self._size.height * SUPERSAMPLING)
        canvas = Image.new("RGBA", enlarged, (0, 0, 0, 0))
        if shot.pid != DISTRACTOR_PID or random.random() < _SHARE_OF_PASSERS_BY:
            Figure(canvas, shot.person or Person(random), pose).draw()
        _stand_before(canvas, random, pose)
        return self._name(shot), camera.photograph(canvas.reduce(SUPERSAMPLING), random)

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
    facing, stride = yaw + random.gauss(0, 0.3), random.uniform(-0.5, 0.5)
    return Pose(facing, stride, centre, top, scale)


def _stand_before(canvas: Image.Image, random: Random, pose: Pose) -> None:
    """Sometimes hide a part: behind a passer-by at the edge, a pole, or something low."""
    kind, colour = random.random(), random.choice(WALLS)
    if kind < 0.06:
        edge, yaw = random.choice((-0.08, 1.08)), random.uniform(0, 2 * math.pi)
        passing = Pose(yaw, 0.3, edge, pose.top + 0.03, pose.scale)
        Figure(canvas, Person(random), passing).draw()
    elif kind < 0.11:
        left = random.choice((random.uniform(0.0, 0.3), random.uniform(0.65, 0.95)))
        _block(canvas, (left, 0.0, left + 0.08, 1.0), colour)
    elif kind < 0.18:
        left, top = random.uniform(-0.2, 0.5), random.uniform(0.7, 0.85)
        _block(canvas, (left, top, left + 0.7, 1.0), colour)


def _block(canvas: Image.Image, box: tuple[float, float, float, float], colour: Colour) -> None:
    """Fill a rectangle; left, top, right and bottom as shares of the canvas."""
    scaled = [share * side for share, side in zip(box, canvas.size * 2, strict=True)]
    ImageDraw.Draw(canvas).rectangle(scaled, fill=colour)
