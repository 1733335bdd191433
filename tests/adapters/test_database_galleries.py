from contextlib import closing
from pathlib import Path

import pytest

from reid.container import Container
from reid.domain.errors import ConfigurationError
from reid.settings.loading import load_settings
from tests.contracts.test_gallery_contract import fill
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
        fill(gallery)
        assert "of hall in" in gallery.place
        assert gallery.describe().num_pictures == 12


@pytest.mark.parametrize("kind", ["postgres", "milvus"])
def test_a_database_without_an_address_is_refused(kind: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"gallery\.{kind}\.address"):
        wired(kind).open_gallery("people", create=True)
