"""A single thread for all work on the encoder and the gallery.

While a batch is in the encoder, requests queue up; the next batch takes as many as fit. No request
waits for others, so a single one is answered at once and many share the encoder's batches.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeAlias, TypeVar

from reid.domain.values.reports import Identification
from reid.service.gallery_service import GalleryService, ServiceQuery
from reid.service.http_errors import busy

Answers: TypeAlias = tuple[Identification, ...]
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Job:
    """A query, or a change, which runs alone."""

    asked: ServiceQuery | None
    work: Callable[[GalleryService], Any]  # makes the change, or answers the query alone
    num_images: int
    future: "Future[Any]"


class Worker:
    """Answers queries in batches, with changes in between, in the order of arrival."""

    def __init__(
        self,
        open_gallery_service: Callable[[], GalleryService],
        *,
        max_waiting: int,
        batch_size: int,
    ) -> None:
        """Prepare the thread, which opens the service by `start`: databases belong to one thread.

        A queue holds up to `max_waiting` images, a batch of the encoder `batch_size`.
        """
        self._open_gallery_service = open_gallery_service
        self._max_waiting = max_waiting
        self._batch_size = batch_size
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reid-worker")
        self._service: GalleryService | None = None
        self._jobs: deque[_Job] = deque()
        self._is_closed = False
        self._lock = Lock()
        self.num_waiting = 0  # images in the queue

    @property
    def is_ready(self) -> bool:
        """Whether it accepts work."""
        return self._service is not None and not self._is_closed

    def start(self) -> GalleryService:
        """Open the encoder and the gallery; return the service, which belongs to the thread.

        Raises:
            ReidError: Encoder or gallery cannot be opened.
        """
        return self._thread.submit(self._open).result()

    def identify(self, asked: ServiceQuery) -> "Future[Answers]":
        """Queue a query.

        Raises:
            HttpError: The queue is full, or the worker stops.
        """
        return self._put(asked, lambda service: service.identify([asked])[0], len(asked.images))

    def change(
        self, work: Callable[[GalleryService], _Result], *, num_images: int
    ) -> "Future[_Result]":
        """Queue a change.

        Raises:
            HttpError: The queue is full, or the worker stops.
        """
        return self._put(None, work, num_images)

    def close(self) -> None:
        """Finish the queue, accept no more work, close the gallery; safe to call twice."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            closed = self._thread.submit(self._close)
        self._thread.shutdown()
        closed.result()

    def _open(self) -> GalleryService:
        self._service = self._open_gallery_service()
        return self._service

    def _close(self) -> None:
        if self._service is not None:
            self._service.close()

    def _put(
        self, asked: ServiceQuery | None, work: Callable[[GalleryService], _Result], num_images: int
    ) -> "Future[_Result]":
        future: Future[_Result] = Future()
        with self._lock:
            if self._service is None or self._is_closed:
                raise busy("the service is stopping: ask again later", retry_seconds=5)
            # A request larger than the whole queue may still be first.
            if self._jobs and self.num_waiting + num_images > self._max_waiting:
                raise busy(f"{self.num_waiting} images wait already: try again in a moment")
            self._jobs.append(_Job(asked, work, num_images, future))
            self.num_waiting += num_images
            # Once for each job; those that went with an earlier batch leave it nothing to do.
            self._thread.submit(self._work, self._service)
        return future

    def _work(self, service: GalleryService) -> None:
        # Jobs of clients that gave up are skipped.
        batch = [job for job in self._take() if job.future.set_running_or_notify_cancel()]
        queries = [job.asked for job in batch if job.asked is not None]
        if len(queries) > 1:
            try:
                answers = service.identify(queries)
            except Exception:  # noqa: BLE001  (raised again below)
                # One bad query must not spoil its neighbours' answers.
                pass
            else:
                for job, answer in zip(batch, answers, strict=True):
                    job.future.set_result(answer)
                return
        for job in batch:
            try:
                result = job.work(service)
            except Exception as error:  # noqa: BLE001  (raised to the client)
                job.future.set_exception(error)
            else:
                job.future.set_result(result)

    def _take(self) -> Sequence[_Job]:
        """Take queries that go through the encoder together, or one change."""
        batch: list[_Job] = []
        size = 0
        with self._lock:
            while self._jobs and (not batch or self._fits(batch[0], size)):
                job = self._jobs.popleft()
                self.num_waiting -= job.num_images
                size += job.num_images
                batch.append(job)
        return batch

    def _fits(self, first: _Job, size: int) -> bool:
        job = self._jobs[0]
        are_queries = first.asked is not None and job.asked is not None
        return are_queries and size + job.num_images <= self._batch_size
