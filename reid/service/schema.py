"""What routes take and answer, as their OpenAPI description tells it."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from reid.domain.values.galleries import GalleryChanges, KeptImage
from reid.domain.values.reports import Identification
from reid.service.bodies import FORM


@dataclass(frozen=True, slots=True)
class Answers:
    """Who is on the images, in the order of the images."""

    answers: tuple[Identification, ...]


@dataclass(frozen=True, slots=True)
class AddedImages:
    """What the gallery keeps now of the images that were sent."""

    images: tuple[KeptImage, ...]
    changes: GalleryChanges


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken out of the gallery."""

    num_images: int
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


FORM_OR_IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            FORM: {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {
                            "type": "array",
                            "items": {"type": "string", "format": "binary"},
                        }
                    },
                    "required": ["image"],
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "An image or the form cannot be read.",
        401: "The token is missing or wrong.",
        408: "The body took too long.",
        409: "The gallery is empty, of another encoder, or in use.",
        413: "Too many bytes or images.",
        415: "Another type than a form or an image.",
        422: "Something is missing.",
        503: "Too many images wait; Retry-After says when to come back.",
    }.items()
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "Not kept."}}

CameraQuery = Annotated[
    str | None, Query(description="Which camera took the images; a form's field of that name too")
]
LabelQuery = Annotated[
    str | None, Query(description="Who is on the images; a form's field of that name too")
]
OnePersonQuery = Annotated[
    bool, Query(description="All images show one person: one answer for all of them")
]
SeenByQuery = Annotated[
    tuple[str, ...], Query(description="Look at images by this camera alone; several times, each")
]
AddedFromQuery = Annotated[
    str | None,
    Query(description="Look at images added on this day (2026-01-31, in UTC) or later"),
]
AddedUntilQuery = Annotated[str | None, Query(description="Look at images added before it")]
