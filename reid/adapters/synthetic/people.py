"""The drawn people: what is the same in every image of a person."""

from random import Random
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

CLOTHES: tuple[Colour, ...] = (
    (36, 36, 42), (228, 226, 220), (128, 130, 134), (196, 40, 44), (120, 28, 48), (226, 122, 40),
    (230, 200, 70), (58, 140, 72), (96, 104, 58), (40, 140, 150), (56, 104, 200), (34, 48, 104),
    (122, 70, 150), (226, 140, 168),
)  # fmt: skip
TROUSERS: tuple[Colour, ...] = (
    (32, 32, 38), (52, 74, 122), (120, 146, 184), (190, 168, 128), (112, 112, 116),
    (220, 218, 212), (92, 92, 60), (102, 68, 46), (160, 52, 56),
)  # fmt: skip
SKINS: tuple[Colour, ...] = (
    (240, 206, 178), (224, 180, 146), (190, 138, 100), (138, 94, 66), (92, 62, 46),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (24, 20, 20), (62, 40, 28), (116, 76, 42), (204, 166, 96), (150, 150, 150),
)  # fmt: skip
SHOES: tuple[Colour, ...] = ((30, 30, 32), (225, 225, 225), (150, 60, 50), (90, 70, 50))

PATTERNS = ((1, 1), (1, 1), (4, 1), (6, 1), (8, 1), (1, 5), (1, 7), (4, 4), (6, 4), (2, 1), (1, 3))
"""Rows and columns of a garment in two colours: plain, stripes, bars, checks, halves, jacket."""

LOWERS = ("trousers", "trousers", "shorts", "skirt")
HAIRCUTS = ("bald", "short", "short", "long")
BAGS = ("none", "backpack", "shoulder bag")

_MAX_TRIES = 200


class Person:
    """Clothes and build of one drawn person, drawn at random."""

    def __init__(self, random: Random) -> None:
        """Choose everything; the order of the draws decides who a seed invents."""
        upper, second, hat, bag = (_shade(random, one) for one in random.sample(CLOTHES, 4))
        self.upper, self.upper_second, self.bag_colour = upper, second, bag
        self.pattern = random.choice(PATTERNS)
        self.has_long_sleeves = random.random() < 0.5
        self.lower_kind = random.choice(LOWERS)
        self.lower = _shade(random, random.choice(TROUSERS))
        self.skin = random.choice(SKINS)
        self.haircut = random.choice(HAIRCUTS)
        self.hair = random.choice(HAIRS)
        self.hat = hat if random.random() < 0.2 else None
        self.bag = random.choice(BAGS)
        self.shoes = random.choice(SHOES)
        # Width and height relative to the average.
        self.build = random.uniform(0.86, 1.22)
        self.height = random.uniform(0.92, 1.05)

    @property
    def looks(self) -> tuple[object, ...]:
        """Garments and pattern, and colours that differ at a glance."""
        coarse = (tuple(part // 64 for part in colour) for colour in (self.upper, self.lower))
        return self.pattern, self.lower_kind, *coarse


def invent_people(random: Random, count: int) -> list[Person]:
    """Draw people, no two of whom have the same looks.

    After a few thousand the wardrobe runs out, and people share clothes, but not build.
    """
    people: dict[tuple[object, ...], Person] = {}
    for number in range(count):
        for _ in range(_MAX_TRIES):
            person = Person(random)
            if person.looks not in people:
                break
        people[person.looks if person.looks not in people else (number,)] = person
    return list(people.values())


def _shade(random: Random, colour: Colour) -> Colour:
    red, green, blue = (min(max(part + random.randint(-9, 9), 0), 255) for part in colour)
    return red, green, blue
