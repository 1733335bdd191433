import re
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pymilvus import MilvusClient

from reid.application.galleries import CheckOutcome
from reid.cli import gallery_answers as answers
from reid.container.root import Container
from reid.domain.errors import ConfigurationError, GalleryError
from reid.settings.loading import load_settings, plain_settings
from tests.galleries import enroll
from tests.milvus import lite_address
from tests.postgres import server_address, unused_name


def wired(kind: str, **options: str) -> Container:
    given = {"gallery.kind": kind, **{f"gallery.{name}": value for name, value in options.items()}}
    assignments = [f"{key}={value}" for key, value in given.items()]
    return Container(settings=load_settings(assignments=assignments).settings)


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_settings_choose_a_database(kind: str, tmp_path: Path) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    container = wired(kind, tenant="hall", **{f"{kind}.address": address})
    name = unused_name()
    with closing(container.open_gallery(name, create=True)) as gallery:
        enroll(gallery)
        assert "of hall in" in gallery.place
        assert gallery.describe().num_images == 12


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_a_database_without_an_address_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"gallery\.{kind}\.address"):
        wired(kind).open_gallery("people", create=True)


@pytest.mark.parametrize(("kind", "name"), [("postgres", "Hall"), ("milvus", "people/hall")])
def test_what_cannot_be_a_name_is_refused_as_what_it_is(
    kind: str, name: str, tmp_path: Path
) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    with pytest.raises(GalleryError, match=rf"^'{name}' names no gallery in .* digits and und"):
        wired(kind, **{f"{kind}.address": address}).open_gallery(name, create=True)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gallery.postgres.address", "postgresql://me:hidden@host/people"),
        ("gallery.milvus.token", "me:hidden"),
    ],
)
def test_what_opens_a_database_is_neither_shown_nor_recorded(setting: str, value: str) -> None:
    resolved = load_settings(assignments=[f"{setting}={value}"])
    assert "hidden" not in str(plain_settings(resolved.settings))
    assert "hidden" not in str(resolved.rows())


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_a_gallery_that_was_built_is_opened_without_making_one(kind: str, tmp_path: Path) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    container = wired(kind, **{f"{kind}.address": address})
    name = unused_name()
    with closing(container.open_gallery(name, create=True)) as gallery:
        enroll(gallery)
    with closing(container.open_gallery(name, create=False)) as gallery:
        assert gallery.describe().num_images == 12


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_an_unknown_name_is_said_and_nothing_is_made(kind: str, tmp_path: Path) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    known, unknown = unused_name(), unused_name()
    container = wired(kind, tenant="hall", **{f"{kind}.address": address})
    container.open_gallery(known, create=True).close()
    for name, tenant in ((unknown, "hall"), (known, "yard")):
        asked = wired(kind, tenant=tenant, **{f"{kind}.address": address})
        before = content_of(kind, address)
        with pytest.raises(GalleryError, match=rf"{name} of {tenant} .*does not exist: build it"):
            asked.open_gallery(name, create=False)
        assert content_of(kind, address) == before


def content_of(kind: str, address: str) -> list[object]:
    """List tables or collections, and tenants."""
    if kind == "milvus":
        with closing(MilvusClient(address)) as client:
            return sorted(client.list_collections())
    with psycopg.connect(address) as connection:
        tables = connection.execute("select tablename from pg_tables order by 1").fetchall()
        states = [name for (name,) in tables if name.startswith("reid_") and "_state" in name]
        return [tables, *(connection.execute(f"table {name}").fetchall() for name in states)]


def test_no_file_is_made_for_a_gallery_in_milvus_lite_that_is_not_there(tmp_path: Path) -> None:
    container = wired("milvus", **{"milvus.address": lite_address(tmp_path)})
    with pytest.raises(GalleryError, match="the gallery people in Milvus does not exist"):
        container.open_gallery("people", create=False)
    assert list(tmp_path.iterdir()) == []


def test_no_extension_is_made_for_a_gallery_that_is_not_there() -> None:
    address, name = server_address(), unused_name()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    elsewhere = psycopg.conninfo.make_conninfo(address, dbname=name)
    with pytest.raises(GalleryError, match="does not exist"):
        wired("postgres", **{"postgres.address": elsewhere}).open_gallery("people", create=False)
    with psycopg.connect(elsewhere) as connection:
        assert connection.execute("select from pg_extension where extname = 'vector'").rowcount == 0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("postgres", r"free room .*compacted.*write-ahead log.*backups"),
        ("milvus", r"segments .*compact.*garbage collection.*message log.*backups"),
    ],
)
def test_forgetting_says_what_the_server_may_still_hold(
    kind: str, words: str, tmp_path: Path
) -> None:
    address = server_address() if kind == "postgres" else lite_address(tmp_path)
    container = wired(kind, **{f"{kind}.address": address})
    with closing(container.open_gallery(unused_name(), create=True)) as gallery:
        enroll(gallery)
        outcome = container.maintain_gallery().forget(gallery, "a")
        assert gallery.images(labels=["a"]) == ()
    told = answers.removal(outcome, done="Erased").splitlines()
    assert len(told) == 2
    assert re.fullmatch(rf"Traces may remain in .*{words}", told[1])


def test_expiring_says_what_the_server_may_still_hold() -> None:
    outcome = CheckOutcome(
        place="here", num_images=3, num_expired=2, faults=(), residual_traces="in its log"
    )
    assert "Traces may remain in its log; and in backups" in answers.check(outcome).splitlines()


def test_forgetting_in_a_folder_has_nothing_to_add(tmp_path: Path) -> None:
    container = Container(settings=load_settings().settings)
    with closing(container.open_gallery(str(tmp_path / "known"), create=True)) as gallery:
        enroll(gallery)
        outcome = container.maintain_gallery().forget(gallery, "a")
    assert outcome.residual_traces is None
    assert len(answers.removal(outcome, done="Erased").splitlines()) == 1
