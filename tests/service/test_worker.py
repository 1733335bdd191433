"""The worker, with a desk that does as it is told."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event

import pytest

from reid.adapters.images.given import GivenPicture
from reid.domain.errors import DatasetError, GalleryError
from reid.domain.values.reports import Identification
from reid.domain.values.samples import Picture
from reid.service.desk import Asked
from reid.service.refusals import Refusal
from reid.service.worker import Answers, Worker


class SlowDesk:
    """Answers once it is let, and remembers how it was asked."""

    def __init__(self) -> None:
        self.go = Event()
        self.batches: list[list[str]] = []
        self.is_closed = False

    def identify(self, questions: Sequence[Asked]) -> Sequence[Answers]:
        assert self.go.wait(timeout=30)
        names = [one.picture.image for asked in questions for one in asked.pictures]
        self.batches.append(names)
        if "bad" in names:
            raise DatasetError("bad: send another")
        return [tuple(answer(one.picture.image) for one in asked.pictures) for asked in questions]

    def close(self) -> None:
        self.is_closed = True


def answer(image: str) -> Identification:
    return Identification(
        image=image,
        label=image,
        similarity=1.0,
        runner_up_label=None,
        runner_up_similarity=None,
        pictures=(),
    )


def asked(*names: str) -> Asked:
    return Asked(tuple(GivenPicture(Picture(name), b"") for name in names))


def labels(future: "Future[Answers]") -> list[str]:
    return [one.label for one in future.result(timeout=30)]


@contextmanager
def working(
    desk: SlowDesk, *, max_waiting: int = 100, batch_size: int = 4
) -> Iterator[Worker[SlowDesk]]:
    worker = Worker(lambda: desk, max_waiting=max_waiting, batch_size=batch_size)
    worker.start()
    try:
        yield worker
    finally:
        desk.go.set()
        worker.close()


def busy(worker: Worker[SlowDesk]) -> "Future[Answers]":
    """Ask something and wait until it is in the encoder."""
    first = worker.identify(asked("first"))
    while worker.num_waiting:
        pass
    return first


def test_what_waits_goes_through_the_encoder_together() -> None:
    desk = SlowDesk()
    with working(desk) as worker:
        first = busy(worker)
        others = [worker.identify(asked(name)) for name in "abcdef"]
        assert worker.num_waiting == 6
        desk.go.set()
        assert labels(first) == ["first"]
        assert [labels(other) for other in others] == [[name] for name in "abcdef"]
    assert desk.batches == [["first"], ["a", "b", "c", "d"], ["e", "f"]]


def test_changes_are_made_in_their_turn() -> None:
    desk = SlowDesk()
    with working(desk) as worker:
        busy(worker)
        before = worker.identify(asked("a"))
        change = worker.change(lambda desk: len(desk.batches), num_pictures=1)
        after = worker.identify(asked("b"))
        desk.go.set()
        assert (labels(before), change.result(timeout=30), labels(after)) == (["a"], 2, ["b"])
    assert desk.batches == [["first"], ["a"], ["b"]]


def test_a_full_queue_sends_clients_away_until_there_is_room() -> None:
    desk = SlowDesk()
    with working(desk, max_waiting=3) as worker:
        busy(worker)
        waiting = worker.identify(asked("a", "b", "c"))
        with pytest.raises(Refusal) as refused:
            worker.identify(asked("d"))
        assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
        desk.go.set()
        assert labels(waiting) == ["a", "b", "c"]
        assert labels(worker.identify(asked("d"))) == ["d"]


def test_a_request_larger_than_the_queue_is_taken_where_nothing_waits() -> None:
    desk = SlowDesk()
    desk.go.set()
    with working(desk, max_waiting=1) as worker:
        assert labels(worker.identify(asked("a", "b", "c"))) == ["a", "b", "c"]


def test_one_bad_question_spoils_nobody_elses_answer() -> None:
    desk = SlowDesk()
    with working(desk) as worker:
        busy(worker)
        futures = {name: worker.identify(asked(name)) for name in ("a", "bad", "b")}
        desk.go.set()
        assert (labels(futures["a"]), labels(futures["b"])) == (["a"], ["b"])
        with pytest.raises(DatasetError, match="send another"):
            futures["bad"].result(timeout=30)


def test_a_question_whose_client_left_is_passed_over() -> None:
    desk = SlowDesk()
    with working(desk) as worker:
        busy(worker)
        left, stayed = worker.identify(asked("a")), worker.identify(asked("b"))
        assert left.cancel()
        desk.go.set()
        assert labels(stayed) == ["b"]
    assert desk.batches == [["first"], ["b"]]


def test_closing_finishes_what_waits_and_takes_nothing_new() -> None:
    desk = SlowDesk()
    with working(desk) as worker:
        first = busy(worker)
        waiting = worker.identify(asked("a"))
        desk.go.set()
        worker.close()
        assert (labels(first), labels(waiting)) == (["first"], ["a"])
        assert desk.is_closed
        assert not worker.is_ready
        with pytest.raises(Refusal, match="stopping"):
            worker.identify(asked("b"))


def test_what_opening_raises_is_raised_by_start() -> None:
    def fail() -> SlowDesk:
        raise GalleryError("none: build it")

    worker = Worker(fail, max_waiting=1, batch_size=1)
    with pytest.raises(GalleryError, match="build it"):
        worker.start()
    worker.close()


def test_a_change_that_fails_leaves_the_worker_at_work() -> None:
    desk = SlowDesk()
    desk.go.set()

    def fail(_: SlowDesk) -> None:
        raise GalleryError("in use: wait")

    with working(desk) as worker:
        with pytest.raises(GalleryError):
            worker.change(fail, num_pictures=0).result(timeout=30)
        assert labels(worker.identify(asked("a"))) == ["a"]
