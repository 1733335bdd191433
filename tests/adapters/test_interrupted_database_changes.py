"""Writers that are killed, and servers that are restarted, leave a gallery that others finish."""

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import torch

from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction
from tests.adapters.database_changes import (
    Engine,
    add,
    change_and_die,
    erase,
    fill_once,
    interrupt,
    remove,
)
from tests.adapters.gallery_changes import spawn
from tests.galleries import enroll, entry, vectors_of
from tests.milvus import lite_address
from tests.postgres import restart_server, server_address, unused_name


@pytest.fixture
def on_postgres(tmp_path: Path) -> Iterator[Gallery]:
    engine = Engine("postgres", unused_name(), server_address(), lite_address(tmp_path))
    with closing(engine.open()) as gallery:
        enroll(gallery)
        yield gallery


def check(gallery: Gallery) -> None:
    assert gallery.check() == ()


CHANGES = [(add, "vectors.add", 12), (remove, "vectors.drop", 9), (erase, "vectors.drop", 9)]
FINISHED = [
    (*CHANGES[0], check),
    (*CHANGES[0], add),
    (*CHANGES[1], add),
    (*CHANGES[2], check),
    (erase, "records.reclaim", 9, check),
]


@pytest.mark.parametrize(
    ("kind", "change", "point", "num_left", "finish"),
    [
        *(("postgres", *finished) for finished in FINISHED),
        *(("milvus", *finished) for finished in FINISHED),
        *(("milvus-postgres", *finished) for finished in FINISHED[::3]),
    ],
)
def test_what_a_killed_writer_left_is_no_answer_and_is_finished_by_the_next(
    kind: str,
    change: Callable[[Gallery], None],
    point: str,
    num_left: int,
    finish: Callable[[Gallery], None],
    tmp_path: Path,
) -> None:
    engine = Engine(kind, unused_name(), server_address(), lite_address(tmp_path))
    assert exit_code_of(fill_once, engine) == 0
    assert exit_code_of(change_and_die, engine, change, point) == -9
    left = list(range(1, 13))[-num_left:]
    with closing(engine.open()) as gallery:
        gallery.note(entry(AuditAction.EXPORT, day=2))  # waits for the lock of who died
        assert [image.key for image in gallery.images()] == left
        assert sorted(gallery.search(vectors_of(1), 12).indices[0].tolist()) == left
        assert torch.equal(gallery.vectors(left), vectors_of(12)[-num_left:])
        finish(gallery)
        assert_nothing_is_left(gallery, gone=[1, 2, 3] if num_left < 12 else [])
        check(gallery)


def exit_code_of(work: Callable[..., None], *arguments: object) -> int | None:
    process = spawn(work, *arguments)
    process.join()
    return process.exitcode


def assert_nothing_is_left(gallery: Gallery, *, gone: list[int]) -> None:
    with gallery._records.reading() as now:
        state = now.state()
        assert (state.num_removed, state.is_erasing) == (0, False)
        assert not gallery._vectors.has_leftovers(state.vectors, last_key=state.last_key)
        view = gallery._vectors.view(state.vectors)
        for key in gone:
            with pytest.raises(GalleryError, match="has no vector"):
                view.of([key])


def test_a_server_that_is_restarted_between_changes_is_gone_on_with(on_postgres: Gallery) -> None:
    restart_server()
    assert on_postgres.describe().num_images == 12
    restart_server()
    add(on_postgres)
    assert on_postgres.describe().num_images == 17
    check(on_postgres)


@pytest.mark.parametrize(("change", "point", "num_left"), CHANGES)
def test_a_server_that_is_restarted_in_the_midst_of_a_change_leaves_it_to_be_finished(
    on_postgres: Gallery, change: Callable[[Gallery], None], point: str, num_left: int
) -> None:
    left = [image.key for image in on_postgres.images()][-num_left:]
    interrupt(on_postgres, point, restart_server)
    # What follows a removal that was committed may wait, and is no error.
    with suppress(GalleryError) if change is remove else pytest.raises(GalleryError):
        change(on_postgres)
    assert [image.key for image in on_postgres.images()] == left
    delattr(on_postgres._vectors, point.split(".")[1])
    check(on_postgres)
    assert_nothing_is_left(on_postgres, gone=[1, 2, 3] if num_left < 12 else [])
