"""One thread that does the work: everything that touches the encoder or the gallery.

While a batch is in the encoder, requests gather; the next batch takes as many as fit. Nothing waits
for others to come, so a lone request is answered at once and many share the encoder's batches.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from reid.domain.values.reports import Identification
from reid.service.desk import Asked
from reid.service.refusals import busy

Answers: TypeAlias = tuple[Identification, ...]


class AnswersQuestions(Protocol):
    """What the thread works with; made, used and closed in it."""

    def identify(self, questions: Sequence[Asked]) -> Sequence[Answers]:
        """Answer several requests at once."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


_Desk = TypeVar("_Desk", bound=AnswersQuestions)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Job(Generic[_Desk]):
    """A question, or anything else that is done alone, in its turn."""

    asked: Asked | None
    work: Callable[[_Desk], Any]
    """Does it; answers a question where it is answered alone."""

    num_pictures: int
    future: "Future[Any]"


class Worker(Generic[_Desk]):
    """Answers questions in batches and makes changes in between, in the order of their coming."""

    def __init__(
        self,
        open_desk: Callable[[], _Desk],
        *,
        max_waiting: int,
        batch_size: int,
        retry_seconds: int = 1,
    ) -> None:
        """Keep the parts; nothing runs yet.

        Args:
            open_desk: Called in the thread, since databases stay with theirs.
            max_waiting: Most pictures in the queue.
            batch_size: Pictures that the encoder takes at once.
            retry_seconds: When clients shall come back to a full queue.
        """
        self._open_desk = open_desk
        self._max_waiting = max_waiting
        self._batch_size = batch_size
        self._retry_seconds = retry_seconds
        self._jobs: deque[_Job[_Desk]] = deque()
        self._num_waiting = 0
        self._is_closing = False
        self._wake = Condition()
        self._thread = Thread(target=self._run, name="reid-worker")
        self._opened: Future[_Desk] = Future()

    @property
    def num_waiting(self) -> int:
        """Pictures in the queue."""
        return self._num_waiting

    @property
    def is_ready(self) -> bool:
        """Whether it takes work."""
        return self._thread.is_alive() and not self._is_closing

    def start(self) -> _Desk:
        """Open the encoder and the gallery; return the desk, which stays with the thread.

        Raises:
            ReidError: Whatever opening raises.
        """
        self._thread.start()
        return self._opened.result()

    def identify(self, asked: Asked) -> "Future[Answers]":
        """Queue a question.

        Raises:
            Refusal: The queue is full, or the worker stops.
        """
        return self._put(asked, lambda desk: desk.identify([asked])[0], len(asked.pictures))

    def change(self, work: Callable[[_Desk], _Result], *, num_pictures: int) -> "Future[_Result]":
        """Queue anything else.

        Raises:
            Refusal: The queue is full, or the worker stops.
        """
        return self._put(None, work, num_pictures)

    def close(self) -> None:
        """Finish what is queued, take nothing new, close the gallery; safe to call twice."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _put(
        self, asked: Asked | None, work: Callable[[_Desk], _Result], num_pictures: int
    ) -> "Future[_Result]":
        future: Future[_Result] = Future()
        with self._wake:
            if self._is_closing:
                raise busy("the service is stopping: ask again later", retry_seconds=5)
            # A request that alone is larger than the queue may still come first.
            if self._jobs and self._num_waiting + num_pictures > self._max_waiting:
                raise busy(
                    f"{self._num_waiting} pictures wait already: come back in a moment",
                    retry_seconds=self._retry_seconds,
                )
            self._jobs.append(_Job(asked, work, num_pictures, future))
            self._num_waiting += num_pictures
            self._wake.notify()
        return future

    def _run(self) -> None:
        try:
            desk = self._open_desk()
        except BaseException as error:  # noqa: BLE001  (raised again by `start`)
            self._opened.set_exception(error)
            return
        self._opened.set_result(desk)
        try:
            while batch := self._take():
                _work(desk, batch)
        finally:
            desk.close()

    def _take(self) -> "Sequence[_Job[_Desk]]":
        """Wait for work: questions that go through the encoder together, or one change."""
        with self._wake:
            while not self._jobs and not self._is_closing:
                self._wake.wait()
            batch: list[_Job[_Desk]] = []
            size = 0
            while self._jobs and self._fits(batch, size):
                job = self._jobs.popleft()
                self._num_waiting -= job.num_pictures
                size += job.num_pictures
                batch.append(job)
            return batch

    def _fits(self, batch: "Sequence[_Job[_Desk]]", size: int) -> bool:
        job = self._jobs[0]
        if not batch:
            return True
        both = job.asked is not None and batch[0].asked is not None
        return both and size + job.num_pictures <= self._batch_size


def _work(desk: _Desk, batch: "Sequence[_Job[_Desk]]") -> None:
    # A job whose client gave up waiting is passed over.
    live = [job for job in batch if job.future.set_running_or_notify_cancel()]
    questions = [job.asked for job in live if job.asked is not None]
    if len(questions) > 1:
        try:
            answers = desk.identify(questions)
        except Exception:  # noqa: BLE001  (raised again below)
            # One bad question shall not spoil its neighbours' answers.
            pass
        else:
            for job, answer in zip(live, answers, strict=True):
                job.future.set_result(answer)
            return
    for job in live:
        try:
            result = job.work(desk)
        except Exception as error:  # noqa: BLE001  (whoever asked gets it)
            job.future.set_exception(error)
        else:
            job.future.set_result(result)
