"""From errors to HTTP: the status, what happened, and what to do."""

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
"""An encoder complains of what it is given, such as a camera that it does not know."""

PARAMETERS: Final = ("seen_by", "added_from", "added_until")
"""Settings of the section `identify` that clients choose, by the same names."""


class HttpError(Exception):
    """A request is answered by an error."""

    def __init__(
        self, status: int, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        """Keep the answer.

        Args:
            status: Of HTTP.
            message: What happened, and what to do.
            headers: Further ones of the answer.
        """
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def busy(message: str, *, retry_seconds: int) -> HttpError:
    """Make the refusal of a client that should come back in a moment."""
    return HttpError(503, message, headers={"Retry-After": str(retry_seconds)})


def http_error_of(error: ReidError) -> HttpError:
    """Answer an error of the program: by the class's status, or the nearest class above it."""
    status = next((STATUS_OF[kind] for kind in type(error).__mro__ if kind in STATUS_OF), 500)
    return HttpError(status, respell(str(error), _parameter))


def _parameter(setting: str, value: str | None) -> str | None:
    name = setting.removeprefix("identify.")
    if name in PARAMETERS:
        return name if value is None else f"{name}={value}"
    return None


def as_response(refusal: HttpError) -> JSONResponse:
    """Make the answer of a refusal."""
    return JSONResponse({"error": refusal.message}, refusal.status, headers=refusal.headers)


def answer_errors(app: FastAPI) -> None:
    """Answer whatever routes raise as JSON: `{"error": what happened, and what to do}`."""

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
            # The traceback goes to the log, not to the client.
            return HttpError(500, "a fault of the service: its log tells more")
