"""HTTP answers to errors: the status, what happened and what to do."""

from collections.abc import Mapping
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from reid.domain.errors import (
    CheckpointError,
    ConfigurationError,
    DatasetError,
    EncoderError,
    EvaluationError,
    GalleryError,
    ReidError,
    VectorIndexError,
)
from reid.settings.mentions import respell

STATUS_OF: Final[Mapping[type, int]] = {
    ConfigurationError: 422,
    DatasetError: 400,
    CheckpointError: 500,
    EncoderError: 400,
    VectorIndexError: 500,
    EvaluationError: 422,
    GalleryError: 409,
}
"""An `EncoderError` concerns the request: a camera that the encoder does not know, for example."""

PARAMETERS: Final = ("seen_by", "added_from", "added_until")
"""Settings of the section `identify` that clients choose, by the same names."""


class HttpError(HTTPException):
    """An error of ours that answers a request: its status, and what happened and what to do."""


def busy(message: str, *, retry_seconds: int = 1) -> HttpError:
    """Build the error for a client that should retry later."""
    return HttpError(503, message, headers={"Retry-After": str(retry_seconds)})


def http_error_of(error: Exception) -> HttpError:
    """Convert an error; one of the program by the status of its class or nearest ancestor."""
    match error:
        case HttpError():
            return error
        case ReidError():
            kinds = type(error).__mro__
            status = next((STATUS_OF[kind] for kind in kinds if kind in STATUS_OF), 500)
            return HttpError(status, respell(str(error), _parameter))
        case RequestValidationError():
            texts = [
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors()
            ]
            return HttpError(422, "; ".join(texts) + "; see /docs")
        case HTTPException():
            message = f"{error.detail}: see /docs for what there is"
            return HttpError(error.status_code, message, headers=error.headers)
        case _:
            # Only the log receives the traceback.
            return HttpError(500, "internal error of the service: see its log")


def as_response(error: HttpError) -> JSONResponse:
    """Build the response of an error."""
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def answer_errors(app: FastAPI) -> None:
    """Answer every exception of the routes as JSON: `{"error": what happened, what to do}`."""

    async def answer(_: Request, error: Exception) -> Response:
        return as_response(http_error_of(error))

    for kind in (HttpError, ReidError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, answer)


def _parameter(setting: str, value: str | None) -> str | None:
    name = setting.removeprefix("identify.")
    if name in PARAMETERS:
        return name if value is None else f"{name}={value}"
    return None
