"""What is asked of a gallery: who is on these pictures of one person.

Letters: Q questions, N pictures, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import torch
from torch import Tensor

from reid.domain.fusion import mean_directions
from reid.domain.values.galleries import KeptPicture
from reid.domain.values.samples import Picture

SAME_PICTURE = 1 - 1e-5
"""Cosine from which on two vectors count as those of the very same picture."""


class OwnPictures(Enum):
    """Which gallery pictures of the asked person answer a question."""

    ALL = auto()
    OTHER_CAMERAS = auto()
    """Neither those by the question's own camera, as in evaluation, nor the very same picture."""

    NONE = auto()
    """As if the person were a stranger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Pictures of one person who is to be named."""

    pictures: tuple[Picture, ...]
    """At least one."""

    own: OwnPictures = OwnPictures.ALL

    @property
    def label(self) -> str | None:
        """The person's own label, where known."""
        return self.pictures[0].label

    def hides(self, picture: KeptPicture, *, similarity: float) -> bool:
        """Whether a gallery picture at a cosine is no answer to this question."""
        if self.own is OwnPictures.ALL or picture.label != self.label:
            return False
        if self.own is OwnPictures.NONE or similarity >= SAME_PICTURE:
            return True
        return picture.camera is not None and picture.camera in {p.camera for p in self.pictures}


def ask_each(pictures: Sequence[Picture]) -> tuple[Question, ...]:
    """Make every picture a question of its own."""
    return tuple(Question(pictures=(picture,)) for picture in pictures)


def ask_tracklets(pictures: Sequence[Picture]) -> tuple[Question, ...]:
    """Make the pictures of a person one question, in the order of their first pictures.

    Pictures in one sub-folder are of one person. Of others, those of one label by one camera are; a
    picture without a label stands alone, and the cameras of a person, whose pictures may show
    different sides, stay apart.
    """
    groups: dict[tuple[str | None, ...], list[Picture]] = {}
    for picture in pictures:
        folder = picture.image.rpartition("/")[0]
        key = (folder,) if folder else ("", picture.label, picture.camera)
        alone = ("", None, None, picture.image)
        groups.setdefault(alone if key[:2] == ("", None) else key, []).append(picture)
    return tuple(Question(pictures=tuple(group)) for group in groups.values())


def vectors_of_questions(
    questions: Sequence[Question], pictures: Sequence[Picture], vectors: Tensor
) -> Tensor:
    """Fuse the vectors of each question's pictures; see `mean_directions`.

    Args:
        questions: Q, which hold each of the pictures once.
        pictures: N.
        vectors: (N, D) float32, rows of unit L2 norm.

    Returns:
        (Q, D) float32, rows of unit L2 norm; those of single pictures as they were.
    """
    rows = {picture.image: row for row, picture in enumerate(pictures)}
    if all(len(question.pictures) == 1 for question in questions):
        return vectors[[rows[question.pictures[0].image] for question in questions]]
    groups = torch.empty(len(pictures), dtype=torch.int64)
    for number, question in enumerate(questions):
        groups[[rows[picture.image] for picture in question.pictures]] = number
    return mean_directions(vectors, groups, num_groups=len(questions))
