"""A single thread for all work on the encoder and the gallery.

While a batch is in the encoder, requests queue up; the next batch takes as many as fit. No request
waits for others, so a single one is answered at once and many share the encoder's batches.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from reid.domain.values.reports import Identification
from reid.service.gallery_service import ServiceQuery
from reid.service.http_errors import busy

Answers: TypeAlias = tuple[Identification, ...]


class AnswersQueries(Protocol):
    """The service of the thread, which opens, uses and closes it."""

    def identify(self, queries: Sequence[ServiceQuery]) -> Sequence[Answers]:
        """Answer several requests at once."""
        ...

    def close(self) -> None:
        """Close files."""
        ...


_Service = TypeVar("_Service", bound=AnswersQueries)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Job(Generic[_Service]):
    """A query, or a change, which runs alone."""

    asked: ServiceQuery | None
    work: Callable[[_Service], Any]
    """Makes the change, or answers the query alone."""

    num_images: int
    future: "Future[Any]"


class Worker(Generic[_Service]):
    """Answers queries in batches, with changes in between, in the order of arrival."""

    def __init__(
        self,
        open_gallery_service: Callable[[], _Service],
        *,
        max_waiting: int,
        batch_size: int,
        retry_seconds: int = 1,
    ) -> None:
        """Prepare the thread.

        Args:
            open_gallery_service: Called in the thread, since databases belong to one.
            max_waiting: Most images in the queue.
            batch_size: Images per batch of the encoder.
            retry_seconds: When clients should retry on a full queue.
        """
        self._open_gallery_service = open_gallery_service
        self._max_waiting = max_waiting
        self._batch_size = batch_size
        self._retry_seconds = retry_seconds
        self._jobs: deque[_Job[_Service]] = deque()
        self._num_waiting = 0
        self._is_closing = False
        self._wake = Condition()
        self._thread = Thread(target=self._run, name="reid-worker")
        self._opened: Future[_Service] = Future()

    @property
    def num_waiting(self) -> int:
        """Images in the queue."""
        return self._num_waiting

    @property
    def is_ready(self) -> bool:
        """Whether it accepts work."""
        return self._thread.is_alive() and not self._is_closing

    def start(self) -> _Service:
        """Open the encoder and the gallery; return the service, which belongs to the thread.

        Raises:
            ReidError: Encoder or gallery cannot be opened.
        """
        self._thread.start()
        return self._opened.result()

    def identify(self, asked: ServiceQuery) -> "Future[Answers]":
        """Queue a query.

        Raises:
            HttpError: The queue is full, or the worker stops.
        """
        return self._put(asked, lambda service: service.identify([asked])[0], len(asked.images))

    def change(self, work: Callable[[_Service], _Result], *, num_images: int) -> "Future[_Result]":
        """Queue a change.

        Raises:
            HttpError: The queue is full, or the worker stops.
        """
        return self._put(None, work, num_images)

    def close(self) -> None:
        """Finish the queue, accept no more work, close the gallery; safe to call twice."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _put(
        self, asked: ServiceQuery | None, work: Callable[[_Service], _Result], num_images: int
    ) -> "Future[_Result]":
        future: Future[_Result] = Future()
        with self._wake:
            if self._is_closing:
                raise busy("the service is stopping: ask again later", retry_seconds=5)
            # A request larger than the whole queue may still be first.
            if self._jobs and self._num_waiting + num_images > self._max_waiting:
                raise busy(
                    f"{self._num_waiting} images wait already: try again in a moment",
                    retry_seconds=self._retry_seconds,
                )
            self._jobs.append(_Job(asked, work, num_images, future))
            self._num_waiting += num_images
            self._wake.notify()
        return future

    def _run(self) -> None:
        try:
            service = self._open_gallery_service()
        except BaseException as error:  # noqa: BLE001  (raised again by `start`)
            self._opened.set_exception(error)
            return
        self._opened.set_result(service)
        try:
            while batch := self._take():
                _work(service, batch)
        finally:
            service.close()

    def _take(self) -> "Sequence[_Job[_Service]]":
        """Wait for work: queries that go through the encoder together, or one change."""
        with self._wake:
            while not self._jobs and not self._is_closing:
                self._wake.wait()
            batch: list[_Job[_Service]] = []
            size = 0
            while self._jobs and self._fits(batch, size):
                job = self._jobs.popleft()
                self._num_waiting -= job.num_images
                size += job.num_images
                batch.append(job)
            return batch

    def _fits(self, batch: "Sequence[_Job[_Service]]", size: int) -> bool:
        job = self._jobs[0]
        if not batch:
            return True
        both = job.asked is not None and batch[0].asked is not None
        return both and size + job.num_images <= self._batch_size


def _work(service: _Service, batch: "Sequence[_Job[_Service]]") -> None:
    # Jobs of clients that gave up are skipped.
    live = [job for job in batch if job.future.set_running_or_notify_cancel()]
    queries = [job.asked for job in live if job.asked is not None]
    if len(queries) > 1:
        try:
            answers = service.identify(queries)
        except Exception:  # noqa: BLE001  (raised again below)
            # One bad query must not spoil its neighbours' answers.
            pass
        else:
            for job, answer in zip(live, answers, strict=True):
                job.future.set_result(answer)
            return
    for job in live:
        try:
            result = job.work(service)
        except Exception as error:  # noqa: BLE001  (raised to the client)
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
