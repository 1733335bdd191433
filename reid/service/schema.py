"""What routes take and answer, as their OpenAPI description tells it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from reid.domain.values.galleries import GalleryChanges, KeptPicture
from reid.domain.values.reports import Identification
from reid.service.bodies import FORM


@dataclass(frozen=True, slots=True)
class Answers:
    """Who is on the pictures, in the order of the pictures."""

    answers: tuple[Identification, ...]


@dataclass(frozen=True, slots=True)
class AddedPictures:
    """What the gallery keeps now of the pictures that were sent."""

    pictures: tuple[KeptPicture, ...]
    changes: GalleryChanges


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out of the gallery."""

    num_pictures: int
    num_left: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service is there, and whether it takes work."""

    live: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    error: str
    """What happened, and what to do."""


FORM_OR_PICTURE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "picture": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "required": ["picture"],
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "A picture or the form cannot be read.",
        401: "The token is missing or wrong.",
        408: "The body took too long.",
        409: "The gallery is empty, of another encoder, or in use.",
        413: "Too many bytes or pictures.",
        415: "Another type than a form or a picture.",
        422: "Something is missing.",
        503: "Too many pictures wait; Retry-After says when to come back.",
    }.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not kept."}}

CameraQuery = Annotated[
    str | None, Query(description="Which camera took the pictures; a form's field of that name too")
]
LabelQuery = Annotated[
    str | None, Query(description="Who is on the pictures; a form's field of that name too")
]
OnePersonQuery = Annotated[
    bool, Query(description="All pictures show one person: one answer for all of them")
]
SeenByQuery = Annotated[
    tuple[str, ...], Query(description="Look at pictures by this camera alone; several times, each")
]
AddedFromQuery = Annotated[
    str | None,
    Query(description="Look at pictures added on this day (2026-01-31, in UTC) or later"),
]
AddedUntilQuery = Annotated[str | None, Query(description="Look at pictures added before it")]
