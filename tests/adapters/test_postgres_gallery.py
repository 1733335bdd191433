"""What is peculiar to the gallery in PostgreSQL."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any, cast

import psycopg
import pytest
import torch
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL

from reid.adapters.galleries.memory import open_memory_gallery
from reid.adapters.galleries.postgres.gallery import open_postgres_gallery
from reid.adapters.galleries.postgres.records import PostgresRecords
from reid.adapters.galleries.postgres.search import Graph, candidates, prepare_walk
from reid.adapters.galleries.postgres.transaction import PostgresTransaction, Tables
from reid.adapters.indexes.exact import ExactIndex
from reid.domain.errors import GalleryError
from reid.domain.services.gallery import Gallery
from reid.domain.values.galleries import AuditAction, EncoderFingerprint, GalleryFilter
from tests.galleries import CALIBRATION, STAMP, enroll, entry, new_images, vectors_of
from tests.postgres import server_address, unused_name

Open = Callable[..., Gallery]


@pytest.fixture
def open_gallery() -> Open:
    name = unused_name()

    def opened(**options: object) -> Gallery:
        return open_postgres_gallery(server_address(), name=name, **options)  # type: ignore[arg-type]

    return opened


def records_of(gallery: Gallery) -> PostgresRecords:
    assert isinstance(gallery._records, PostgresRecords)
    return gallery._records


def tables_of(gallery: Gallery) -> Tables:
    return records_of(gallery).tables


def graph_of(gallery: Gallery) -> Graph:
    vectors: Any = gallery._vectors
    return cast(Graph, vectors._graph)


def test_another_connection_finds_everything(open_gallery: Open) -> None:
    with closing(open_gallery()) as first:
        keys = enroll(first)
        first.calibrate([CALIBRATION], entry=entry(AuditAction.CALIBRATE, day=2))
        described, told = first.describe(), first.audit()
    with closing(open_gallery()) as second:
        assert second.describe() == described
        assert second.audit() == told
        assert torch.equal(second.vectors(keys), vectors_of(12))


def test_who_may_change_rows_and_make_no_tables_keeps_images(
    open_gallery: Open,
) -> None:
    with closing(open_gallery()) as gallery:
        enroll(gallery)
    clerk = unused_name()
    with psycopg.connect(server_address(), autocommit=True) as server:
        for statement in (
            f"create role {clerk} login",
            f"grant select, insert, update, delete on all tables in schema public to {clerk}",
            f"grant usage on all sequences in schema public to {clerk}",
        ):
            server.execute(SQL(statement))
    address = make_conninfo(server_address(), user=clerk)
    name = gallery.place.split()[2]
    with closing(open_postgres_gallery(address, name=name)) as kept:
        images = new_images(5, source="there")
        kept.add(images, vectors_of(5, seed=3), fingerprint=STAMP, entry=entry())
        assert kept.describe().num_images == 17
        assert kept.check() == ()
    with pytest.raises(GalleryError, match="permission denied"):
        open_postgres_gallery(address, name=unused_name())


def test_tenants_know_nothing_of_each_other(open_gallery: Open) -> None:
    other_fingerprint = EncoderFingerprint(name="rn50", weights="openai", digest="bb", width=8)
    with closing(open_gallery(tenant="a")) as a, closing(open_gallery(tenant="b")) as b:
        keys = enroll(a)
        assert b.describe().fingerprint is None
        assert b.images(keys=keys) == ()
        wide = torch.eye(8)[:3]
        assert b.remove(keys, entry=entry(AuditAction.REMOVE)) == 0
        b.add(new_images(3), wide, fingerprint=other_fingerprint, entry=entry())
        assert torch.equal(b.vectors([1, 2, 3]), wide)
        assert b.erase([1], entry=entry(AuditAction.FORGET)) == 1
        b.add(new_images(1), wide[:1], fingerprint=other_fingerprint, entry=entry())
        assert a.describe().num_images == 12
        assert torch.equal(a.vectors(keys), vectors_of(12))
        assert b.search(wide, 5).indices.shape == (3, 3)
        assert len(a.audit()) == 1
        assert len(b.audit()) == 4
        assert a.check() == b.check() == ()


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_answers_are_those_of_a_gallery_in_memory(open_gallery: Open, exact_up_to: int) -> None:
    in_memory = open_memory_gallery(create_index=ExactIndex)
    within = GalleryFilter(without_cameras=frozenset("2"), labels=frozenset("ab"))
    with closing(open_gallery(exact_up_to=exact_up_to)) as gallery:
        for one in (gallery, in_memory):
            enroll(one, 300)
        for wanted in (GalleryFilter(), within):
            found = gallery.search(vectors_of(9, seed=1), 10, within=wanted)
            expected = in_memory.search(vectors_of(9, seed=1), 10, within=wanted)
            assert torch.equal(found.indices, expected.indices)
            assert torch.allclose(found.distances, expected.distances, rtol=0, atol=1e-6)


def test_equal_vectors_are_answered_by_key(open_gallery: Open) -> None:
    with closing(open_gallery(exact_up_to=0)) as gallery:
        copies = vectors_of(1).repeat(6, 1)
        keys = gallery.add(new_images(6), copies, fingerprint=STAMP, entry=entry())
        assert gallery.search(vectors_of(1), 6).indices.tolist() == [list(keys)]


def test_it_is_exact_until_it_outgrows_exact_comparison(
    open_gallery: Open,
) -> None:
    with closing(open_gallery(exact_up_to=20)) as gallery:
        enroll(gallery, 20)
        assert (gallery.is_exact, gallery.recall) == (True, 1)
        gallery.add(
            new_images(5, source="there"), vectors_of(5, seed=3), fingerprint=STAMP, entry=entry()
        )
        assert not gallery.is_exact
        assert 0.95 <= gallery.recall <= 1


def test_images_that_are_kept_are_said_to_be_though_their_graph_must_wait(
    open_gallery: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build_in_vain(*_: object) -> None:
        raise psycopg.errors.LockNotAvailable

    with closing(open_gallery(exact_up_to=0)) as gallery:
        with monkeypatch.context() as patch:
            patch.setattr(Graph, "creation", build_in_vain)
            keys = enroll(gallery)
            assert gallery.is_exact
            assert gallery.search(vectors_of(12)[5:6], 1).indices.tolist() == [[keys[5]]]
        gallery.add(new_images(1, source="there"), vectors_of(1), fingerprint=STAMP, entry=entry())
        assert not gallery.is_exact
        assert gallery.check() == ()


def test_a_gallery_with_a_graph_is_emptied_compacted_and_filled_again(
    open_gallery: Open,
) -> None:
    with closing(open_gallery(exact_up_to=0)) as gallery:
        gallery.erase(enroll(gallery), entry=entry(AuditAction.FORGET))
        gallery.compact()
        assert (gallery.recall, gallery.check()) == (1, ())
        keys = enroll(gallery)
        assert gallery.search(vectors_of(12)[5:6], 1).indices.tolist() == [[keys[5]]]


def test_the_graph_is_what_a_search_reads(open_gallery: Open) -> None:
    with closing(open_gallery(exact_up_to=0)) as gallery:
        enroll(gallery, 300)
        assert graph_of(gallery).name in _plan_of(gallery)


def _plan_of(gallery: Gallery) -> str:
    with records_of(gallery).reading() as now:
        prepare_walk(now, 40, num_answers=5)
        rows = now.run(
            "explain " + candidates("true", width=16),
            query=vectors_of(1)[0].numpy(),
            k=5,
            num_candidates=10,
        ).fetchall()
    return "\n".join(line for (line,) in rows)


def test_a_second_writer_waits_and_is_then_refused(
    open_gallery: Open,
) -> None:
    with closing(open_gallery()) as first, closing(open_gallery(lock_seconds=0.1)) as second:
        enroll(first)
        with first._records.writing():
            with pytest.raises(GalleryError, match="being changed by somebody else"):
                second.note(entry())
            assert second.describe().num_images == 12
        second.note(entry())


def test_a_reader_sees_nothing_of_a_change_that_is_not_whole(
    open_gallery: Open,
) -> None:
    with closing(open_gallery()) as writer, closing(open_gallery()) as reader:
        keys = enroll(writer)
        with suppress(ZeroDivisionError), writer._records.writing() as change:
            assert change.remove(keys, erases=False) == 12
            assert len(reader.images()) == 12
            _ = 1 / 0
        assert [image.key for image in writer.images()] == list(keys)
        assert writer.check() == ()


def test_threads_share_a_gallery(open_gallery: Open) -> None:
    def change_and_ask(number: int) -> list[int]:
        keys = gallery.add(
            new_images(3, source=f"{number}"),
            vectors_of(3, seed=number),
            fingerprint=STAMP,
            entry=entry(),
        )
        assert gallery.search(vectors_of(3, seed=number), 1).indices[:, 0].tolist() == [*keys]
        return [*keys]

    with closing(open_gallery()) as gallery:
        with ThreadPoolExecutor(4) as threads:
            given = [key for keys in threads.map(change_and_ask, range(12)) for key in keys]
        assert sorted(given) == [image.key for image in gallery.images()]
        assert gallery.check() == ()


def test_a_connection_that_the_server_ended_is_opened_again(
    open_gallery: Open,
) -> None:
    with closing(open_gallery()) as gallery:
        enroll(gallery)
        (process,) = processes_of(gallery)
        with psycopg.connect(server_address(), autocommit=True) as other:
            other.execute("select pg_terminate_backend(%s, 10000)", [process])
        assert gallery.describe().num_images == 12
        assert processes_of(gallery) != [process]


def processes_of(gallery: Gallery) -> list[int]:
    return [connection.info.backend_pid for connection in records_of(gallery)._idle]


def test_a_connection_that_breaks_in_the_midst_of_a_change_leaves_the_state_before(
    open_gallery: Open,
) -> None:
    def delete_and_be_ended(gallery: Gallery) -> None:
        with gallery._records.writing() as change:
            assert change.remove([1, 2], erases=False) == 2
            with psycopg.connect(server_address(), autocommit=True) as other:
                process = cast(PostgresTransaction, change).connection.info.backend_pid
                other.execute("select pg_terminate_backend(%s, 10000)", [process])

    with closing(open_gallery()) as gallery:
        enroll(gallery)
        with pytest.raises(GalleryError):
            delete_and_be_ended(gallery)
        assert len(gallery.images()) == 12
        assert gallery.check() == ()


def test_an_erasure_whose_traces_must_stay_for_now_says_so(
    open_gallery: Open,
) -> None:
    with closing(open_gallery(lock_seconds=0.1)) as gallery:
        keys = enroll(gallery)
        table = tables_of(gallery).statement("lock table {images} in share update exclusive mode")
        with psycopg.connect(server_address()) as other:
            other.execute(table)
            with pytest.raises(GalleryError, match=r"images are removed, but traces.*compact"):
                gallery.erase(keys[:3], entry=entry(AuditAction.FORGET))
        assert len(gallery.images()) == 9
        gallery.compact()


def test_erased_people_are_in_no_row_and_the_audit_log_says_so(
    open_gallery: Open,
) -> None:
    with closing(open_gallery(exact_up_to=0)) as gallery:
        keys = enroll(gallery)
        gallery.erase(keys[:3], entry=entry(AuditAction.FORGET, day=2, count=3))
        assert [told.action for told in gallery.audit()] == [AuditAction.ADD, AuditAction.FORGET]
        with psycopg.connect(server_address()) as connection:
            dead = connection.execute(
                "select sum(n_dead_tup) from pg_stat_user_tables where relname = any(%s)",
                [[f"{tables_of(gallery).prefix}_{name}" for name in ("images", "vectors")]],
            ).fetchone()
        assert dead == (0,)
        gallery.compact()
        assert gallery.describe().num_images == 9


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (
            "update {vectors} set vector = (select vector from {vectors} where key = 6) "
            "where key = 5",
            "4.jpg of here .* is damaged",
        ),
        ("update {vectors} set vector = '[1,0]' where key = 5", "has width 2"),
        ("delete from {vectors} where key = 5", "image 5 has no vector"),
        ("delete from {images} where key = 5", "11 images are recorded, 12 were counted"),
        ("update {state} set last_key = 7", "image 12 is recorded, keys up to 7"),
        ("update {state} set fingerprint = '{{}}'", "encoder or calibrations cannot be read"),
        ("delete from {state}", "the row of its state is missing"),
        ("drop index GRAPH", "is missing or invalid"),
    ],
)
def test_damage_is_found(open_gallery: Open, damage: str, complaint: str) -> None:
    with closing(open_gallery(exact_up_to=0)) as gallery:
        assert enroll(gallery) == tuple(range(1, 13))
        graph = graph_of(gallery).name
        with psycopg.connect(server_address(), autocommit=True) as connection:
            if "[1,0]" in damage:
                connection.execute(f"drop index {graph}")
            connection.execute(tables_of(gallery).statement(damage.replace("GRAPH", graph)))
        assert any(re.search(complaint, fault) for fault in gallery.check())


def test_a_server_that_is_cut_off_is_not_waited_for_without_end(
    open_gallery: Open,
) -> None:
    with closing(open_gallery()) as gallery:
        gallery.describe()
        told = records_of(gallery)._idle[0].info.get_parameters()
        assert int(told["keepalives_idle"]) + 3 * int(told["keepalives_interval"]) <= 60
        assert int(told["tcp_user_timeout"]) <= 60_000
        assert told["application_name"] == "reid"
    own = make_conninfo(server_address(), keepalives_idle=7, application_name="mine")
    with closing(open_postgres_gallery(own, name=unused_name())) as gallery:
        gallery.describe()
        told = records_of(gallery)._idle[0].info.get_parameters()
        assert (told["keepalives_idle"], told["application_name"]) == ("7", "mine")


def test_a_password_is_not_told() -> None:
    with pytest.raises(GalleryError) as refused:
        open_postgres_gallery("postgresql://me:secret@127.0.0.1:1/people")
    assert "127.0.0.1/people" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("name", ["", "Gallery", "a-b", "a; drop table", "a" * 40, "1a"])
def test_a_name_that_makes_no_table_is_refused(name: str) -> None:
    with pytest.raises(GalleryError, match="names no gallery in PostgreSQL"):
        open_postgres_gallery("postgresql://nowhere", name=name)


def test_a_tenant_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(GalleryError, match=r"gallery\.tenant"):
        open_postgres_gallery("postgresql://nowhere", tenant="%s")


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(GalleryError, match=r"gallery\.postgres\.address"):
        open_postgres_gallery("somewhere over = the rainbow")


@pytest.mark.parametrize("label", ["o'neill\"; drop table x", "\\", "{own}", "B\u00e4r"])
def test_labels_are_kept_as_they_are(open_gallery: Open, label: str) -> None:
    with closing(open_gallery(tenant=label)) as gallery:
        gallery.add(new_images(2, label=label), vectors_of(2), fingerprint=STAMP, entry=entry())
        within = GalleryFilter(labels=frozenset([label]))
        assert (gallery.search(vectors_of(1), 2, within=within).indices > 0).all()
        assert {image.label for image in gallery.images(labels=[label])} == {label}


@pytest.mark.parametrize("label", ["a\0b", "\udcff"])
def test_a_label_that_the_database_cannot_hold_changes_nothing(
    open_gallery: Open, label: str
) -> None:
    with closing(open_gallery()) as gallery:
        enroll(gallery)
        before = gallery.describe()
        with pytest.raises(GalleryError):
            gallery.add(
                new_images(2, source="there", label=label),
                vectors_of(2),
                fingerprint=STAMP,
                entry=entry(),
            )
        assert gallery.describe() == before


def test_a_closed_gallery_says_so(open_gallery: Open) -> None:
    gallery = open_gallery()
    gallery.close()
    with pytest.raises(GalleryError, match="was closed"):
        gallery.describe()
