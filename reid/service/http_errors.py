"""HTTP answers to errors: the status, what happened and what to do."""

from collections.abc import Awaitable, Callable, Mapping
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

STATUS_OF: Final[Mapping[type[ReidError], int]] = {
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


class HttpError(Exception):
    """An error that answers a request."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Keep the HTTP status, the message (what happened, what to do) and further headers."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def busy(message: str, *, retry_seconds: int) -> HttpError:
    """Build the error for a client that should retry later."""
    return HttpError(503, message, headers={"Retry-After": str(retry_seconds)})


def http_error_of(error: ReidError) -> HttpError:
    """Convert an error by the status of its class, or of its nearest ancestor."""
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)
    return HttpError(status, respell(str(error), _parameter))


def _parameter(setting: str, value: str | None) -> str | None:
    name = setting.removeprefix("identify.")
    if name in PARAMETERS:
        return name if value is None else f"{name}={value}"
    return None


def as_response(refusal: HttpError) -> JSONResponse:
    """Build the response of an error."""
    return JSONResponse({"error": refusal.message}, refusal.status, headers=refusal.headers)


def answer_errors(app: FastAPI) -> None:
    """Answer every exception of the routes as JSON: `{"error": what happened, what to do}`."""

    async def refuse(_: Request, error: Exception) -> Response:
        return as_response(_refusal_for(error))

    handler: Callable[[Request, Exception], Awaitable[Response]] = refuse
    for kind in (HttpError, ReidError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handler)


def _refusal_for(error: Exception) -> HttpError:
    match error:
        case HttpError():
            return error
        case ReidError():
            return http_error_of(error)
        case RequestValidationError():
            texts = [
                f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
                for problem in error.errors()
            ]
            return HttpError(422, "; ".join(texts) + "; see /docs")
        case HTTPException():
            return HttpError(
                error.status_code,
                f"{error.detail}: see /docs for what there is",
                headers=error.headers,
            )
        case _:
            # Only the log receives the traceback.
            return HttpError(500, "internal error of the service: see its log")
