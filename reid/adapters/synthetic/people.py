"""Who the drawn people are: what stays the same on every picture of a person."""

from dataclasses import dataclass
from enum import Enum, auto
from random import Random
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

UPPER_COLOURS: tuple[Colour, ...] = (
    (36, 36, 42),
    (228, 226, 220),
    (128, 130, 134),
    (196, 40, 44),
    (120, 28, 48),
    (226, 122, 40),
    (230, 200, 70),
    (58, 140, 72),
    (96, 104, 58),
    (40, 140, 150),
    (56, 104, 200),
    (34, 48, 104),
    (122, 70, 150),
    (226, 140, 168),
)
LOWER_COLOURS: tuple[Colour, ...] = (
    (32, 32, 38),
    (52, 74, 122),
    (120, 146, 184),
    (190, 168, 128),
    (112, 112, 116),
    (220, 218, 212),
    (92, 92, 60),
    (102, 68, 46),
    (160, 52, 56),
)
SKIN_COLOURS: tuple[Colour, ...] = (
    (240, 206, 178),
    (224, 180, 146),
    (190, 138, 100),
    (138, 94, 66),
    (92, 62, 46),
)
HAIR_COLOURS: tuple[Colour, ...] = (
    (24, 20, 20),
    (62, 40, 28),
    (116, 76, 42),
    (204, 166, 96),
    (150, 150, 150),
)
_MAX_TRIES = 200


class Pattern(Enum):
    """How two colours share the upper garment."""

    PLAIN = auto()
    STRIPES = auto()
    BARS = auto()
    CHECKS = auto()
    HALVES = auto()
    LOGO = auto()
    OPEN_JACKET = auto()


class Lower(Enum):
    """What is worn on the legs."""

    TROUSERS = auto()
    SHORTS = auto()
    SKIRT = auto()


class Hair(Enum):
    """How the hair is worn."""

    BALD = auto()
    SHORT = auto()
    LONG = auto()
    TAIL = auto()


class Bag(Enum):
    """What is carried."""

    NONE = auto()
    BACKPACK = auto()
    SHOULDER_BAG = auto()
    HANDBAG = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Clothes and build of one drawn person."""

    pattern: Pattern
    upper: Colour
    upper_second: Colour
    num_bands: int
    """Stripes or bars on the upper garment."""

    has_long_sleeves: bool
    lower_kind: Lower
    lower: Colour
    skin: Colour
    hair: Hair
    hair_colour: Colour
    hat: Colour | None
    bag: Bag
    bag_colour: Colour
    shoes: Colour
    build: float
    """Width relative to the average."""

    height: float
    """Height relative to the average."""


def invent_person(random: Random) -> Person:
    """Draw a person's looks at random."""
    upper, second = random.sample(UPPER_COLOURS, 2)
    return Person(
        pattern=random.choices(list(Pattern), weights=(5, 2, 1, 2, 2, 2, 2))[0],
        upper=_vary(random, upper),
        upper_second=_vary(random, second),
        num_bands=random.choice((4, 6, 8)),
        has_long_sleeves=random.random() < 0.5,
        lower_kind=random.choices(list(Lower), weights=(6, 3, 2))[0],
        lower=_vary(random, random.choice(LOWER_COLOURS)),
        skin=random.choice(SKIN_COLOURS),
        hair=random.choices(list(Hair), weights=(1, 5, 3, 2))[0],
        hair_colour=random.choice(HAIR_COLOURS),
        hat=_vary(random, random.choice(UPPER_COLOURS)) if random.random() < 0.2 else None,
        bag=random.choices(list(Bag), weights=(4, 4, 2, 2))[0],
        bag_colour=_vary(random, random.choice(UPPER_COLOURS)),
        shoes=random.choice(((30, 30, 32), (225, 225, 225), (150, 60, 50), (90, 70, 50))),
        build=random.uniform(0.86, 1.22),
        height=random.uniform(0.92, 1.05),
    )


def invent_people(random: Random, count: int) -> list[Person]:
    """Draw people of whom no two look alike in all of garment, pattern and colours.

    Past some thousands the wardrobe runs out, and people then share clothes but not build.
    """
    people: list[Person] = []
    seen: set[tuple[object, ...]] = set()
    for _ in range(count):
        person = invent_person(random)
        for _ in range(_MAX_TRIES):
            if _signature(person) not in seen:
                break
            person = invent_person(random)
        seen.add(_signature(person))
        people.append(person)
    return people


def _signature(person: Person) -> tuple[object, ...]:
    return person.pattern, _coarse(person.upper), person.lower_kind, _coarse(person.lower)


def _coarse(colour: Colour) -> Colour:
    red, green, blue = colour
    return red // 64, green // 64, blue // 64


def _vary(random: Random, colour: Colour) -> Colour:
    red, green, blue = (min(max(part + random.randint(-9, 9), 0), 255) for part in colour)
    return red, green, blue
