"""Routes and their answers."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import starmap
from typing import Annotated, TypeVar, get_origin
from urllib.parse import unquote_to_bytes

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST

from reid.adapters.images.given import GivenImage, ImageIntake
from reid.adapters.pages.documents import render
from reid.application.galleries import RemovalOutcome
from reid.domain.values.durations import parse_time
from reid.domain.values.galleries import GalleryFilter
from reid.domain.values.samples import ListedImage
from reid.service.bodies import Bodies, as_utf8, said_twice
from reid.service.gallery_service import GalleryService, ServiceQuery
from reid.service.http_errors import HttpError, answer_errors, busy
from reid.service.middleware import Metrics
from reid.service.schema import (
    FORM_OR_IMAGE,
    PROBLEMS,
    REMOVAL_PROBLEMS,
    AddedFromQuery,
    AddedImages,
    AddedUntilQuery,
    Answers,
    CameraQuery,
    Health,
    LabelQuery,
    OnePersonQuery,
    Removed,
    SeenByQuery,
)
from reid.service.worker import Worker

_Result = TypeVar("_Result")
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "base-uri 'none'"
}


class Api:
    """Routes over a worker."""

    def __init__(
        self, worker: Worker, *, intake: ImageIntake, bodies: Bodies, seconds: float
    ) -> None:
        """Keep the parts, and the time for an answer once a body has arrived."""
        self._worker = worker
        self._intake = intake
        self._bodies = bodies
        self._seconds = seconds
        # One thread decodes while the worker is in the encoder, one image at a time, so that
        # memory never holds several large ones.
        self._decoder = ThreadPoolExecutor(1, thread_name_prefix="reid-decoder")

    async def identify(
        self,
        request: Request,
        *,
        one_person: OnePersonQuery = False,
        camera: CameraQuery = None,
        seen_by: SeenByQuery = (),
        added_from: AddedFromQuery = None,
        added_until: AddedUntilQuery = None,
    ) -> Answers:
        """Name the person in each image, by the images of the gallery."""
        within = GalleryFilter(
            cameras=frozenset(seen_by) if seen_by else None,
            added_from=_moment("added_from", added_from),
            added_until=_moment("added_until", added_until),
        )
        images = await self._taken(request, camera=camera, is_query=True)
        asked = ServiceQuery(images, is_one_person=one_person, within=within)
        return Answers(await self._answered(self._worker.identify(asked)))

    async def add(
        self, request: Request, *, label: LabelQuery = None, camera: CameraQuery = None
    ) -> AddedImages:
        """Add images of one person to the gallery, except those it already has."""
        images = await self._taken(request, label=label, camera=camera, is_query=False)
        # Clients' file names clash and may be private, so digests replace them.
        named = {
            digest: replace(one, image=replace(one.image, name=digest))
            for one in images
            if (digest := one.digest) is not None
        }
        images = tuple(named.values())
        return await self._answered(
            self._worker.change(lambda service: service.add(images), num_images=len(images))
        )

    async def remove(self, key: Annotated[int, Path(ge=1, lt=2**63)]) -> Removed:
        """Remove an image from the gallery."""
        return await self._removed(lambda service: service.remove(key))

    async def forget(self, label: str) -> Removed:
        """Erase a person and every trace from the gallery, and verify it."""
        return await self._removed(lambda service: service.forget(label))

    async def health(self, response: Response) -> Health:
        """Report whether requests are accepted; status 503 if not."""
        is_ready = self._worker.is_ready
        response.status_code = 200 if is_ready else 503
        return Health(live=True, ready=is_ready)

    async def live(self) -> Health:
        """Report that the process is alive."""
        return Health(live=True, ready=self._worker.is_ready)

    def close(self) -> None:
        """Stop the decoder's thread."""
        self._decoder.shutdown()

    async def _taken(
        self,
        request: Request,
        *,
        is_query: bool,
        label: str | None = None,
        camera: str | None = None,
    ) -> tuple[GivenImage, ...]:
        async with self._bodies.read(request) as sent:
            label = _said_once("label", sent.fields.get("label"), label)
            camera = _said_once("camera", sent.fields.get("camera"), camera)
            if not is_query and label is None:
                raise HttpError(
                    422, "no label was sent: name the person in the images by label=NAME"
                )
            given = [
                (content, ListedImage(name=name or f"image {number}", label=label, camera=camera))
                for number, (name, content) in enumerate(sent.images, start=1)
            ]
            return await asyncio.get_running_loop().run_in_executor(
                self._decoder, lambda: tuple(starmap(self._intake.take, given))
            )

    async def _removed(self, work: Callable[[GalleryService], RemovalOutcome]) -> Removed:
        outcome = await self._answered(self._worker.change(work, num_images=0))
        return Removed(outcome.num_images, outcome.num_left)

    async def _answered(self, future: "Future[_Result]") -> _Result:
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise busy(f"no answer within {self._seconds:g} s: ask again later") from None


def create_app(api: Api, metrics: Metrics, *, version: str) -> FastAPI:
    """Register the routes of `api`, the metrics and the documentation."""
    app = FastAPI(
        title="reid",
        version=version,
        description="Names the people in images, by a gallery of known people.",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_refuse_misread_parameters)],
    )
    app.post("/identify", openapi_extra=FORM_OR_IMAGE, responses=PROBLEMS)(api.identify)
    app.post("/images", status_code=201, openapi_extra=FORM_OR_IMAGE, responses=PROBLEMS)(api.add)
    app.delete("/images/{key}", responses=REMOVAL_PROBLEMS)(api.remove)
    app.delete("/labels/{label:path}", responses=REMOVAL_PROBLEMS)(api.forget)
    for path, look in (("/health", api.health), ("/health/live", api.live)):
        app.get(path)(look)
        # Load balancers send HEAD.
        app.head(path, include_in_schema=False)(look)

    @app.get("/metrics", response_class=Response)
    async def show_metrics() -> Response:
        """Return metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", include_in_schema=False)
    async def show_schema() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def show_page() -> HTMLResponse:
        title = f"{app.title} {app.version}"
        page = render("routes.html", title=title, assets=["routes.css"], schema=app.openapi())
        return HTMLResponse(page, headers=_POLICY)

    answer_errors(app)
    return app


async def _refuse_misread_parameters(request: Request) -> None:
    """Refuse parameters that a route would ignore, such as misspelt ones."""
    route = request.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    as_utf8(unquote_to_bytes(request.scope["query_string"]), what="the address")
    known = {field.alias: field.field_info.annotation for field in route.dependant.query_params}
    unknown = sorted(set(request.query_params) - set(known))
    if unknown:
        offered = f"but {', '.join(known)}" if known else "nor any other"
        raise HttpError(422, f"there is no parameter {unknown[0]!r} here, {offered}; see /docs")
    for name, kind in known.items():
        if get_origin(kind) is not tuple and len(request.query_params.getlist(name)) > 1:
            raise said_twice(name, where="in the address")


def _moment(name: str, text: str | None) -> str | None:
    try:
        return None if text is None else parse_time(text)
    except ValueError as error:
        raise HttpError(422, f"{name} {error}, not {text!r}") from None


def _said_once(name: str, in_form: str | None, in_address: str | None) -> str | None:
    said = {text.strip() for text in (in_form, in_address) if text is not None and text.strip()}
    if len(said) > 1:
        raise said_twice(name, where="in the form and in the address")
    return next(iter(said), None)
