"""Parameters and answers of the routes, as in their OpenAPI description."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query

from reid.domain.values.galleries import GalleryChanges, KeptImage
from reid.domain.values.reports import Identification
from reid.service.bodies import FORM


@dataclass(frozen=True, slots=True)
class Answers:
    """The people in the images, in the order of the images."""

    answers: tuple[Identification, ...]


@dataclass(frozen=True, slots=True)
class AddedImages:
    """The sent images that the gallery has stored."""

    images: tuple[KeptImage, ...]
    changes: GalleryChanges


@dataclass(frozen=True, slots=True)
class Removed:
    """The images removed from the gallery."""

    num_images: int
    num_left: int


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the service is alive, and whether it accepts requests."""

    live: bool
    ready: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused."""

    error: str  # what happened, and what to do


_IMAGE = {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "properties": {"image": {"type": "array", "items": _IMAGE}},
    "required": ["image"],
}
FORM_OR_IMAGE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {FORM: {"schema": _FORM}, "image/*": {"schema": _IMAGE}},
    }
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": text}
    for status, text in {
        400: "An image or the form cannot be read.",
        401: "The token is missing or wrong.",
        408: "The body took too long.",
        409: "The gallery is empty, in use, or made by another encoder.",
        413: "Too many bytes or images.",
        415: "The body is neither a form nor an image.",
        422: "A parameter is missing or invalid.",
        503: "Too many images wait; Retry-After says when to try again.",
    }.items()
}
REMOVAL_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    404: {"model": Problem, "description": "Not in the gallery."},
}

CameraQuery = Annotated[str | None, Query(description="Camera of the images; also a form field")]
LabelQuery = Annotated[str | None, Query(description="Person in the images; also a form field")]
OnePersonQuery = Annotated[
    bool, Query(description="All images show one person: one answer for all of them")
]
SeenByQuery = Annotated[
    tuple[str, ...], Query(description="Search only images from this camera; may be repeated")
]
AddedFromQuery = Annotated[
    str | None,
    Query(description="Search only images added on this day (2026-01-31, in UTC) or later"),
]
AddedUntilQuery = Annotated[
    str | None, Query(description="Search only images added before this day")
]
