"""The worker, with a service that does as it is told."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event
from typing import cast

import pytest

from reid.adapters.images.given import GivenImage
from reid.domain.errors import DatasetError, GalleryError
from reid.domain.values.reports import Identification
from reid.domain.values.samples import ListedImage
from reid.service.gallery_service import GalleryService, ServiceQuery
from reid.service.http_errors import HttpError
from reid.service.worker import Answers, Worker


class SlowService:
    """Answers once it is let, and remembers how it was asked."""

    def __init__(self) -> None:
        self.go = Event()
        self.batches: list[list[str]] = []
        self.is_closed = False

    def identify(self, queries: Sequence[ServiceQuery]) -> Sequence[Answers]:
        assert self.go.wait(timeout=30)
        names = [one.image.name for asked in queries for one in asked.images]
        self.batches.append(names)
        if "bad" in names:
            raise DatasetError("bad: send another")
        return [tuple(answer(one.image.name) for one in asked.images) for asked in queries]

    def close(self) -> None:
        self.is_closed = True


def answer(name: str) -> Identification:
    return Identification(
        name=name,
        label=name,
        similarity=1.0,
        runner_up_label=None,
        runner_up_similarity=None,
        images=(),
    )


def asked(*names: str) -> ServiceQuery:
    return ServiceQuery(tuple(GivenImage(ListedImage(name), b"") for name in names))


def labels(future: "Future[Answers]") -> list[str | None]:
    return [one.label for one in future.result(timeout=30)]


@contextmanager
def working(
    service: SlowService, *, max_waiting: int = 100, batch_size: int = 4
) -> Iterator[Worker]:
    worker = Worker(
        lambda: cast(GalleryService, service), max_waiting=max_waiting, batch_size=batch_size
    )
    worker.start()
    try:
        yield worker
    finally:
        service.go.set()
        worker.close()


def busy(worker: Worker) -> "Future[Answers]":
    """Ask something and wait until it is in the encoder."""
    first = worker.identify(asked("first"))
    while worker.num_waiting:
        pass
    return first


def test_what_waits_goes_through_the_encoder_together() -> None:
    service = SlowService()
    with working(service) as worker:
        first = busy(worker)
        others = [worker.identify(asked(name)) for name in "abcdef"]
        assert worker.num_waiting == 6
        service.go.set()
        assert labels(first) == ["first"]
        assert [labels(other) for other in others] == [[name] for name in "abcdef"]
    assert service.batches == [["first"], ["a", "b", "c", "d"], ["e", "f"]]


def test_changes_are_made_in_their_turn() -> None:
    service = SlowService()
    with working(service) as worker:
        busy(worker)
        before = worker.identify(asked("a"))
        change = worker.change(lambda _: len(service.batches), num_images=1)
        after = worker.identify(asked("b"))
        service.go.set()
        assert (labels(before), change.result(timeout=30), labels(after)) == (["a"], 2, ["b"])
    assert service.batches == [["first"], ["a"], ["b"]]


def test_a_full_queue_sends_clients_away_until_there_is_room() -> None:
    service = SlowService()
    with working(service, max_waiting=3) as worker:
        busy(worker)
        waiting = worker.identify(asked("a", "b", "c"))
        with pytest.raises(HttpError) as refused:
            worker.identify(asked("d"))
        assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})
        service.go.set()
        assert labels(waiting) == ["a", "b", "c"]
        assert labels(worker.identify(asked("d"))) == ["d"]


def test_a_request_larger_than_the_queue_is_taken_where_nothing_waits() -> None:
    service = SlowService()
    service.go.set()
    with working(service, max_waiting=1) as worker:
        assert labels(worker.identify(asked("a", "b", "c"))) == ["a", "b", "c"]


def test_one_bad_query_spoils_nobody_elses_answer() -> None:
    service = SlowService()
    with working(service) as worker:
        busy(worker)
        futures = {name: worker.identify(asked(name)) for name in ("a", "bad", "b")}
        service.go.set()
        assert (labels(futures["a"]), labels(futures["b"])) == (["a"], ["b"])
        with pytest.raises(DatasetError, match="send another"):
            futures["bad"].result(timeout=30)


def test_a_query_whose_client_left_is_passed_over() -> None:
    service = SlowService()
    with working(service) as worker:
        busy(worker)
        left, stayed = worker.identify(asked("a")), worker.identify(asked("b"))
        assert left.cancel()
        service.go.set()
        assert labels(stayed) == ["b"]
    assert service.batches == [["first"], ["b"]]


def test_closing_finishes_what_waits_and_takes_nothing_new() -> None:
    service = SlowService()
    with working(service) as worker:
        first = busy(worker)
        waiting = worker.identify(asked("a"))
        service.go.set()
        worker.close()
        assert (labels(first), labels(waiting)) == (["first"], ["a"])
        assert service.is_closed
        assert not worker.is_ready
        with pytest.raises(HttpError, match="stopping"):
            worker.identify(asked("b"))


def test_what_opening_raises_is_raised_by_start() -> None:
    def fail() -> GalleryService:
        raise GalleryError("none: build it")

    worker = Worker(fail, max_waiting=1, batch_size=1)
    with pytest.raises(GalleryError, match="build it"):
        worker.start()
    worker.close()


def test_a_change_that_fails_leaves_the_worker_at_work() -> None:
    service = SlowService()
    service.go.set()

    def fail(_: GalleryService) -> None:
        raise GalleryError("in use: wait")

    with working(service) as worker:
        with pytest.raises(GalleryError):
            worker.change(fail, num_images=0).result(timeout=30)
        assert labels(worker.identify(asked("a"))) == ["a"]
